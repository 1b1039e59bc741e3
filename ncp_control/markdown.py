"""Tables and texts that read well in a terminal and on a page.

Names of policies and runs come from folders that anybody may have named. On a page they stand for
nothing but themselves: `plain` takes the meaning from `|`, backticks, HTML tags, links and line
breaks. Every table does so with its cells.
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
    """Return a text so that Markdown shows it as it is, in one line.

    Brackets stay, for intervals are full of them; only the parenthesis that would make a link of
    them is escaped. So do underscores inside a word, which mean nothing.
    """
    return _MARKUP.sub(
        lambda found: _ENTITIES.get(found.group(), "\\" + found.group()), one_line(text)
    )


def plain_sentence(text: str) -> str:
    """Return an error's sentence, whose values are `plain`; the name of a setting stays code."""
    parts = _SETTING.split(text)  # every other one is a setting in its backticks
    return "".join(part if i % 2 else plain(part) for i, part in enumerate(parts))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up in a terminal too; its cells are `plain`."""
    header, *rows = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = (
        "| "
        + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        + " |"
        for row in (header, rule, *rows)
    )
    return "\n".join(lines)


def json_block(value: Any) -> str:
    """Return what a page shows as JSON: no line of it ends the block or begins an HTML tag."""
    text = json.dumps(value, indent=1, default=str).replace("<", "\\u003c")
    return f"```json\n{text}\n```"
