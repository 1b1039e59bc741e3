"""The built site in a browser: letters that can be read, pages for phones, keys that lead on.

`make docs` builds it; what can be told without a browser is checked there.
"""

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.ncp_control.audit.browsing import open_page, overflow, pale_texts, prefer, start_browser

SITE = Path(__file__).parents[2] / "build/docs"
PAGES = [
    "index.html",
    "start.html",
    "results.html",
    "recordings.html",
    "compared.html",
    "tutorials/own-log.html",
    "tutorials/own-series.html",
    "explanation/liquid-time-constants.html",
    "reference/commands/evaluate.html",
    "reference/names/Circuit.html",
]
FOCUSED = """
const one = document.activeElement, style = getComputedStyle(one);
const name = (one.textContent || one.ariaLabel || one.placeholder || "").trim();
return [name, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
"""
pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").is_file(), reason="the site is not built: make docs"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One headless Chromium for all pages."""
    browser = start_browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.quit()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_letter_can_be_told_from_its_ground(browser, scheme):
    prefer(browser, scheme)
    pale = {page: pale_texts(open_page(browser, SITE / page)) for page in PAGES}
    assert pale == {page: [] for page in PAGES}


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_window(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wide = [page for page in PAGES if overflow(open_page(browser, SITE / page))[0] > 0]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == []


def test_the_tab_key_leads_through_a_page_and_shows_where_it_is(browser):
    open_page(browser, SITE / "tutorials/own-log.html")
    met = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        met.append(browser.execute_script(FOCUSED))
        if met[-1][0] == "Download this page as a notebook":
            break
    names = [name for name, _ in met]
    assert names[0] == "Skip to content" and "Search" in names
    assert names[-1] == "Download this page as a notebook"
    assert [name for name, is_shown in met if not is_shown] == []
