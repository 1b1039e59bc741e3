"""Links of a page to files of the repository that are no pages: the site carries a copy.

Pages are read on the site and in the repository, so they link to a file as it lies there. Sphinx
takes a link to a `.md` file for one to a page, unless it begins with `path:`.
"""

import re

from sphinx.application import Sphinx

_UPWARDS = re.compile(r"\]\(((?:\.\./)+)([^)#]+\.md)\)")


def mark(app: Sphinx, page: str, source: list[str]) -> None:
    """Mark links to Markdown files outside of the folder of all pages."""

    def marked(link: re.Match[str]) -> str:
        is_outside = len(link[1]) // len("../") > page.count("/")
        return f"](path:{link[1]}{link[2]})" if is_outside else link[0]

    source[0] = _UPWARDS.sub(marked, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen for pages."""
    app.connect("source-read", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
