"""Names from anywhere stand for themselves in a table and on a page; a library renders them."""

import json
from html.parser import HTMLParser

import markdown
import pytest

from ncp_control.markdown import json_block, markdown_table, plain, plain_sentence
from ncp_control.names import one_line

NAMES = [
    "drive-ncp",
    "a|b||c|",
    "`code` and ``more`",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a < b && c &lt; d",
    "[here](https://example.org)",
    "![picture](https://example.org/a.png)",
    "__init__ and _all_ of snake_case_",
    "*one* **two** ***three***",
    "two\nlines\r\nthree\n\n# four",
    "back\\slash \\| \\`",
    "0.04 [0.00, 0.18]",
    "|curvature| [1/m]",
    "trailing \\",
    "# not a heading #",
]


class Cells(HTMLParser):
    """The text of each cell of a page's tables, and all tags of the page."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.tags, self.inside = [], set(), False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def rendered(text):
    return Cells(markdown.markdown(text, extensions=["tables"]))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_table_stands_for_itself(name):
    page = rendered(markdown_table(["model", name], [[name, "1"], ["2", name]]))
    shown = one_line(name)
    assert page.cells == ["model", shown, shown, "1", "2", shown]
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_heading_stands_for_itself(name):
    assert rendered(f"# Audit of {plain(name)}").tags == {"h1"}


@pytest.mark.parametrize("character", "\\`*_~$#|")
def test_what_has_a_meaning_to_some_renderer_is_escaped(character):
    assert plain(f"{character}x{character}") == f"\\{character}x\\{character}"


def test_what_means_nothing_stays_readable():
    for text in ("components_for_90", "[0, 0.18]", "a (b)", "−0.83 ± 0.02", "a > b", "5 %"):
        assert plain(text) == text


def test_a_sentence_keeps_the_name_of_its_setting():
    found = plain_sentence(
        "`synaptic currents` must be finite, got nan of '`a`|<b>\n'. Try `dt_s`."
    )
    assert found == "`synaptic currents` must be finite, got nan of '`a`\\|&lt;b>␊'. Try `dt_s`."
    assert plain_sentence("a ` b | c") == "a \\` b \\| c"


def test_columns_line_up():
    lines = markdown_table(["a", "long name"], [["a|b", "1"]]).splitlines()
    assert lines == ["| a    | long name |", "| ---- | --------- |", "| a\\|b | 1         |"]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        markdown_table(["a"], [["1", "2"]])


def test_a_block_of_json_comes_back_and_holds_no_tag():
    value = {"name": "<script>\n```\n", "list": ["```"]}
    text = json_block(value)
    first, *lines, last = text.split("\n")
    assert (first, last) == ("```json", "```")
    assert not any(line.lstrip().startswith("```") for line in lines)
    assert "<" not in text
    assert json.loads("\n".join(lines)) == value
