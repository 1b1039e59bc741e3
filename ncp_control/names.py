"""Names that a user types, and the nearest known one when there is a slip."""

import difflib
import re
from collections.abc import Iterable

from ncp_control.json_files import SHOWN_CHARACTERS, shorten


def check_name(setting: str, name: object, known: Iterable[str]) -> None:
    """Refuse a name that is not known, and suggest the nearest that is, `ctrnn` for `CT-RNN`.

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
    by_letters = {_letters(one): one for one in known}
    given = _letters(str(name)[:SHOWN_CHARACTERS])
    nearest = difflib.get_close_matches(given, by_letters, n=1, cutoff=0.4)
    advice = f"Did you mean {by_letters[nearest[0]]!r}?" if nearest else "Choose a listed name."
    raise ValueError(f"`{setting}` must be one of {sorted(known)}, got {shorten(name)}. {advice}")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
