"""Check the built site: links lead somewhere, nothing comes from elsewhere, nothing is missing.

Each public name of the three packages must have an entry in the reference, and each tutorial a
notebook. Each page must be fit to be read aloud (`check_reading`).

Run it as `python docs/check_site.py build/docs`.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from sphinx.util.inventory import InventoryFile

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS), str(DOCS / "_ext")]

from check_reading import Reading  # noqa: E402 - after the path is set
from reference_pages import public_modules, public_names  # noqa: E402

import ncp_control  # noqa: E402

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Tags that load what an attribute names; of links, only those of style sheets and icons do."""


class Page(HTMLParser):
    """What a page links to, what it loads, and which places it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a tag says."""
        told = dict(attrs)
        self.places.add(told.get("id") or "")
        if tag == "a" and told.get("href"):
            self.links.append(told["href"] or "")
        if tag == "link" and told.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.loads.append(told.get("href") or "")
        if tag in LOADED and told.get(LOADED[tag]):
            self.loads.append(told[LOADED[tag]] or "")


def faults_of(folder: Path) -> list[str]:
    """Return a sentence for each fault of the site."""
    pages = {path: Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        for link in page.links + page.loads:
            split = urlsplit(link)
            if split.scheme or split.netloc:
                if link in page.loads and split.scheme != "data":
                    faults.append(f"{name} loads {link} from elsewhere.")
                continue
            target, place = urldefrag(link)
            there = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            if there.is_dir():
                there = there / "index.html"
            if not there.is_file():
                faults.append(f"{name} links to {link}, which is not there.")
            elif there in pages and unquote(place) not in pages[there].places:
                faults.append(f"{name} links to {link}: that page has no such place.")
    for sheet in folder.rglob("*.css"):
        if "@import" in sheet.read_text() or "url(http" in sheet.read_text():
            faults.append(f"{sheet.relative_to(folder)} loads something from elsewhere.")
    return faults


def faults_of_reading(folder: Path) -> list[str]:
    """Return a sentence for each fault of a page that is read aloud."""
    return [
        f"{path.relative_to(folder)} {fault}."
        for path in sorted(folder.rglob("*.html"))
        if path.name != "search.html"  # a script writes what is on it
        for fault in Reading(path.read_text()).faults
    ]


def missing_names(folder: Path) -> list[str]:
    """Return a sentence for each public name without an entry in the site's inventory."""
    inventory = InventoryFile.loads((folder / "objects.inv").read_bytes(), uri="")
    entries = {name for kind in inventory.data.values() for name in kind}
    wanted = [f"ncp_control.{name}" for name in ncp_control.__all__]
    for module in public_modules():
        for name in public_names(module):
            is_offered = getattr(ncp_control, name, None) is getattr(module, name)
            home = "ncp_control" if is_offered else module.__name__
            wanted.append(f"{home}.{name}")
    return [f"{name} has no entry in the reference." for name in wanted if name not in entries]


def missing_notebooks(folder: Path) -> list[str]:
    """Return a sentence for each tutorial that does not offer its notebook."""
    return [
        f"tutorials/{path.name} has no link to {path.stem}.ipynb."
        for path in sorted((folder / "tutorials").glob("*.html"))
        if path.stem != "index"
        and not any(link.endswith(f"/{path.stem}.ipynb") for link in Page(path.read_text()).links)
    ]


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    found = faults_of(site) + faults_of_reading(site)
    found += missing_names(site) + missing_notebooks(site)
    print(
        "\n".join(found)
        or "every link leads somewhere, nothing is loaded from elsewhere, nothing is missing"
    )
    sys.exit(1 if found else 0)
