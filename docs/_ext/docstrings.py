"""Turn the docstrings of this project, which are plain text, into what Sphinx reads.

| in a docstring                                   | on the page                    |
|--------------------------------------------------|--------------------------------|
| `name`, *word*                                   | code or a link; italics        |
| a table of lines that begin with a bar           | a table                        |
| an indented block, e.g. an equation or a command | as it stands                   |
| characters that mean something to Sphinx         | themselves                     |
"""

import re

from sphinx.application import Sphinx

import ncp_control

SECTIONS = ("Args:", "Attributes:", "Example:", "Raises:", "Returns:", "Yields:")
"""Headers whose indented text Sphinx's napoleon reads."""
_CODE = re.compile(r"(`+)(.+?)\1")
_ITALICS = re.compile(r"(?<![\w*])\*(?=\w)([^*]+)(?<=\w)\*(?![\w*])")


def escape(text: str) -> str:
    """Escape what would be markup outside of code, but for words in *italics*."""
    parts = _ITALICS.split(text)
    parts = [re.sub(r"([*|\\])", r"\\\1", part) for part in parts]
    parts[1::2] = [f"*{part}*" for part in parts[1::2]]
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", "".join(parts))


def convert_line(line: str) -> str:
    """Mark code as code and escape the rest."""
    parts, end = [], 0
    for found in _CODE.finditer(line):
        parts.append(escape(line[end : found.start()]))
        name = found[2]
        if name in ncp_control.__all__:
            code = f":py:obj:`{name} <ncp_control.{name}>`"
        else:
            code = f"``{name}``"
        before, after = line[: found.start()][-1:], line[found.end() :][:1]
        parts.append(
            ("\\ " if before.isalnum() else "")
            + code
            + ("\\ " if after.isalnum() or after in ("_", "[", "(") else "")
        )
        end = found.end()
    parts.append(escape(line[end:]))
    return "".join(parts)


def convert_table(rows: list[str]) -> list[str]:
    """Return a table of Markdown as one of Sphinx."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]
        for row in rows
        if not re.fullmatch(r"[\s|:-]+", row)
    ]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in cells:
        for number, cell in enumerate(row):
            lines.append(f"   {'* -' if number == 0 else '  -'} {convert_line(cell)}".rstrip())
    return ["", *lines, ""]


def convert(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText."""
    out: list[str] = []
    in_section = in_block = False
    after_blank, at = True, 0
    while at < len(lines):
        line = lines[at]
        is_indented = line.startswith(" ")
        if line.startswith("|") and len(line) > 1:
            end = at
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            out += convert_table(lines[at:end])
            at, after_blank, in_section = end, True, False
            continue
        if line.strip() and not is_indented:
            in_section, in_block = line.strip() in SECTIONS, False
        if is_indented and after_blank and not in_section and not in_block:
            out += ["::", ""]
            in_block = True
        out.append(line if in_block or not line.strip() else convert_line(line))
        after_blank, at = not line.strip(), at + 1
    return out


def process(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Convert a docstring in place, before napoleon reads its sections."""
    # Napoleon takes what stands before a colon in the first line of an attribute for its type. So
    # that there is none, the first line is a break that disappears.
    first = ["\\"] if what in ("attribute", "data", "property") else []
    lines[:] = first + convert(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen for docstrings."""
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
