"""Load policies by folder or, for policies shipped with the package, by name."""

from pathlib import Path

from ncp_control.names import check_name
from ncp_control.policy.base import Policy

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "pretrained", _PACKAGE.parent / "policies" / "pretrained")
"""Folders of the shipped policies: in the wheel, and in a clone."""


def shipped_policies() -> dict[str, Path]:
    """Return the folders of the shipped policies by name."""
    return {
        path.parent.name: path.parent
        for folder in _FOLDERS
        for path in sorted(folder.glob("*/config.json"))
    }


def policy_folder(policy: Path | str) -> Path:
    """Return the folder of a policy.

    Args:
        policy: Folder of the policy, or the name of a shipped one, e.g. "drive-ncp".

    Raises:
        ValueError: If it is a plain name that is neither an existing folder nor a shipped policy.
    """
    name = str(policy)
    if Path(policy).exists() or Path(policy).name != name:
        return Path(policy)
    shipped = shipped_policies()
    check_name("policy", name, shipped)
    return shipped[name]


def load(policy: Path | str) -> Policy:
    """Load a policy, ready to act. No code in its files is executed.

    Args:
        policy: Folder of the policy, or the name of a shipped one, e.g. "drive-ncp".

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If a file is damaged, or the name is not that of a shipped policy.

    Example:
        >>> steering = load("drive-ncp").act(frame)
    """
    return Policy.load(policy_folder(policy))
