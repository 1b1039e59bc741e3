"""Texts of a contract as C comments and string literals.

A contract may contain any text. Here it is made safe, so that it cannot end a comment or a string.
"""

import re
from collections.abc import Iterable

from ncp_control.names import one_line


def comment(text: str) -> str:
    """Return a text as one line that is safe inside a C comment, which is UTF-8."""
    plain = one_line(text)
    for mark, harmless in (("*/", "* /"), ("/*", "/ *"), ("??", "? ?")):
        while mark in plain:
            plain = plain.replace(mark, harmless)
    return plain


def string(text: str) -> str:
    """Return a text as a C string literal; bytes beyond ASCII become octal escapes."""
    written = ""
    for byte in text.encode("utf-8", "replace"):
        is_plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        written += chr(byte) if is_plain else f"\\{byte:03o}"
    return f'"{written}"'


def strings(texts: Iterable[str]) -> str:
    """Return texts as the C initialiser of an array of strings."""
    return f"{{{', '.join(map(string, texts))}}}"


def block_comment(lines: Iterable[str]) -> str:
    """Return lines as one C comment, made safe line by line."""
    return "/* " + "\n * ".join(comment(line) for line in lines).replace(" * \n", " *\n") + " */\n"


def renamed(text: str, name: str) -> str:
    """Replace the prefixes `controller_` and `CONTROLLER_` of all names in C text."""
    text = re.sub(r"\bcontroller(?=[_.])", name, text)
    return re.sub(r"\bCONTROLLER_", f"{name.upper()}_", text)
