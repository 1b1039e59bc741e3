"""Names that a user types, and the nearest known one when there is a slip."""

import difflib
from collections.abc import Iterable


def check_name(setting: str, name: object, known: Iterable[str]) -> None:
    """Refuse a name that is not known, and suggest the nearest that is.

    Args:
        setting: What the name stands for, as the user knows it.
        name: What the user gave.
        known: All that is possible.

    Raises:
        ValueError: If the name is not among them.
    """
    known = list(known)
    if name in known:
        return
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    advice = f"Did you mean {nearest[0]!r}?" if nearest else "Choose a listed name."
    raise ValueError(f"`{setting}` must be one of {sorted(known)}, got {name!r}. {advice}")
