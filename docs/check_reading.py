"""Faults of a page for those who read it with a screen reader, a keyboard or a phone.

What can be seen in the text of a page: its language, its title, its viewport, headings in order,
pictures with a text, links and buttons with a name, names of places that are there once. Contrast
and width are measured in a browser (`tests/docs/test_site_in_browser.py`).

Source: WCAG 2.2, success criteria 1.1.1, 1.3.1, 1.4.10, 2.4.2, 2.4.4, 2.4.6, 3.1.1 and 4.1.2.
"""

from html.parser import HTMLParser

_NAMED = {"a", "button"}


class Reading(HTMLParser):
    """What a page says to those who do not see it; `faults` has a sentence for each fault."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._level = self._num_titles = 0
        self._ids: set[str] = set()
        self._has = {"a language": False, "a title": False, "a viewport": False}
        self._open: list[tuple[str, str | None]] = []  # a link or button, and its name so far
        self._is_title = False
        self.feed(text)
        self.faults += [f"has not {what}" for what, is_there in self._has.items() if not is_there]
        if self._num_titles != 1:
            self.faults.append(f"has {self._num_titles} headings of the first level, not one")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a tag says."""
        told = dict(attrs)
        if tag == "html" and told.get("lang"):
            self._has["a language"] = True
        if tag == "meta" and told.get("name") == "viewport":
            self._has["a viewport"] = True
        self._is_title = tag == "title" and not any(name == "svg" for name, _ in self._open)
        if told.get("id"):
            self._place(told["id"] or "")
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self._heading(int(tag[1]))
        if tag == "img":
            if told.get("alt") is None:
                self.faults.append(f"shows {told.get('src')} without a text")
            self._say(told.get("alt") or "")
        if tag in _NAMED:
            self._open.append((tag, told.get("aria-label") or told.get("title") or ""))

    def handle_endtag(self, tag: str) -> None:
        """Judge a link or a button at its end."""
        self._is_title = False
        if self._open and self._open[-1][0] == tag:
            _, name = self._open.pop()
            if not (name or "").strip():
                self.faults.append(f"has a {'link' if tag == 'a' else 'button'} without a name")

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._is_title and data.strip():
            self._has["a title"] = True
        self._say(data)

    def _say(self, text: str) -> None:
        self._open = [(tag, (name or "") + text) for tag, name in self._open]

    def _place(self, name: str) -> None:
        if name in self._ids:
            self.faults.append(f"has two places of the name {name}")
        self._ids.add(name)

    def _heading(self, level: int) -> None:
        if level > self._level + 1 and self._level:
            self.faults.append(f"goes from a heading of level {self._level} to one of {level}")
        self._level = level
        self._num_titles += level == 1
