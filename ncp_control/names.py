"""Check names that a user types, and suggest the nearest known one."""

import difflib
import re
from collections.abc import Iterable

from ncp_control.json_files import SHOWN_CHARACTERS, shorten


def check_name(setting: str, name: object, known: Iterable[str], *, hint: str = "") -> None:
    """Check that a name is known; the error suggests the nearest one, e.g. `ctrnn` for `CT-RNN`.

    Args:
        setting: Name of the setting, for the error message.
        name: Name that the user gave.
        known: All known names.
        hint: Further advice for the error message, as a sentence.

    Raises:
        ValueError: If `name` is not in `known`.
    """
    known = list(known)
    if name in known:
        return
    by_letters = {_letters(one): one for one in known}
    if not known:
        raise ValueError(f"`{setting}` must be left out, got {shorten(name)}: there is none.")
    letters = _letters(str(name)[:SHOWN_CHARACTERS])
    nearest = difflib.get_close_matches(letters, by_letters, n=1, cutoff=0.4)
    advice = f"Did you mean {by_letters[nearest[0]]!r}?" if nearest else "Choose a listed name."
    sentence = f"`{setting}` must be one of {sorted(known)}, got {shorten(name)}. {advice} {hint}"
    raise ValueError(sentence.rstrip())


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def one_line(text: str) -> str:
    """Replace characters of a text that cannot be shown in one line.

    Control characters become their pictures: ␊ for a line break, ␀ for NUL. Line and paragraph
    separators, marks that change the writing direction, and halves of surrogate pairs (bytes of a
    file name that are not UTF-8) become �.
    """
    return _NOT_IN_A_LINE.sub(lambda found: _picture(ord(found.group())), text)


_NOT_IN_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
