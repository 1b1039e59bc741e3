"""Markdown tables and texts that read well in a terminal and on a page.

Names of policies and runs come from folder names, which may contain any characters. `plain` escapes
`|`, backticks, HTML tags, links and line breaks. All cells of tables are escaped.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from ncp_control.names import one_line

_ENTITIES = {"&": "&amp;", "<": "&lt;"}
_MARKUP = re.compile(r"[&<\\`|*~$#]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")

_SETTING = re.compile(r"(`[\w. ]+`)")


def plain(text: str) -> str:
    """Escape a text so that Markdown shows it literally, in one line.

    Brackets stay, because intervals use them; only a parenthesis that would make a link is escaped.
    Underscores inside a word stay, because they have no meaning in Markdown.
    """
    return _MARKUP.sub(
        lambda found: _ENTITIES.get(found.group(), "\\" + found.group()), one_line(text)
    )


def plain_sentence(text: str) -> str:
    """Escape an error message with `plain`, except names of settings in backticks."""
    parts = _SETTING.split(text)  # every second part is a setting in backticks
    return "".join(part if i % 2 else plain(part) for i, part in enumerate(parts))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns; its cells are escaped with `plain`."""
    header, *rows = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = (" | ".join(map(str.ljust, row, widths)) for row in (header, rule, *rows))
    return "\n".join(f"| {line} |" for line in lines)


def json_block(value: Any) -> str:
    """Return a value as a Markdown block of JSON; `<` is escaped, so that it starts no HTML tag."""
    text = json.dumps(value, indent=1, default=str).replace("<", "\\u003c")
    return f"```json\n{text}\n```"
