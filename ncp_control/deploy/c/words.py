"""Names and texts of a contract as C comments and string literals.

A contract's texts may be anybody's; in the source they can neither end a comment nor a string.
"""

import re
from collections.abc import Iterable

from ncp_control.names import one_line


def comment(text: str) -> str:
    """Return a text in one line of ASCII that can stand in a comment."""
    plain = one_line(text).encode("ascii", "backslashreplace").decode()
    for mark, harmless in (("*/", "* /"), ("/*", "/ *"), ("??", "? ?")):
        while mark in plain:
            plain = plain.replace(mark, harmless)
    return plain


def string(text: str) -> str:
    """Return a text as a string literal; bytes beyond ASCII are written by number."""
    written = ""
    for byte in text.encode("utf-8", "replace"):
        is_plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        written += chr(byte) if is_plain else f"\\{byte:03o}"
    return f'"{written}"'


def strings(texts: Iterable[str]) -> str:
    """Return texts as the initialiser of an array of strings."""
    return f"{{{', '.join(map(string, texts))}}}"


def block_comment(lines: Iterable[str]) -> str:
    """Return lines as one comment; each is made harmless."""
    return "/* " + "\n * ".join(comment(line) for line in lines).replace(" * \n", " *\n") + " */\n"


def renamed(text: str, name: str) -> str:
    """Give all that begins with `controller_` or `CONTROLLER_` in C text another prefix."""
    text = re.sub(r"\bcontroller(?=[_.])", name, text)
    return re.sub(r"\bCONTROLLER_", f"{name.upper()}_", text)
