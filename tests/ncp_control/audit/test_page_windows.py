"""The page in a browser: on phones, in narrow windows, live, with any names and colours."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.ncp_control.audit.browsing import (
    find,
    followed,
    frame,
    open_page,
    overflow,
    pale_texts,
    prefer,
    press,
    tap,
    wait_for,
)
from tests.ncp_control.audit.pages import NASTY


def test_an_episode_without_pictures_shows_the_circuit_and_the_signals(page):
    browser = page("bare")
    assert not browser.find_elements(By.CSS_SELECTOR, ".camera, .track")
    press(browser, Keys.END)
    assert find(browser, ".signals b").text == "0.97"


def test_a_live_page_shows_the_newest_frame_until_touched(page):
    browser = page("live")
    assert frame(browser) == 119
    assert find(browser, "#live").text == "live, every 600 s"
    press(browser, Keys.HOME)
    assert find(browser, "#live").text.startswith("live view held")


def test_nothing_overflows_the_window(page):
    for name in ("one", "two", "bare", "lone", "overlaid", "nasty"):
        assert max(overflow(page(name))) <= 0, name


def box(browser, selector):
    return browser.execute_script(
        "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return {x: b.x, y: b.y, right: b.right, width: b.width, height: b.height};",
        selector,
    )


@pytest.mark.parametrize("width", [320, 390, 768, 979, 1024])
def test_a_narrow_window_is_scrolled_down_and_never_sideways(page, device, width):
    device(width, 844)
    for name in ("one", "two", "bare", "lone", "overlaid", "nasty"):
        browser = page(name)
        assert overflow(browser)[0] <= 0, name
        stage = box(browser, ".panel:not([hidden]) .stage canvas")
        assert stage["width"] >= 280 and stage["height"] >= 240, name
        neuron = box(browser, ".panel:not([hidden]) .neuron")
        assert neuron["width"] >= 280, name


def test_a_phone_shows_the_wiring_and_follows_the_neuron_under_a_finger(page, device, make_episode):
    device(390, 844)
    browser = page("one")
    stage, foot = box(browser, ".stage"), box(browser, "footer")
    assert stage["width"] > 350 and 300 < stage["height"] and stage["y"] + 300 < foot["y"]
    for name in make_episode().neuron_names:
        node = box(browser, f'.node[data-neuron="{name}"]')
        assert min(node["width"], node["height"]) >= 30
        assert stage["x"] <= node["x"] and node["right"] <= stage["right"]
    tap(browser, find(browser, '.node[data-neuron="inter_1"]'))
    wait_for(browser, lambda: followed(browser) == "inter_1")
    assert box(browser, ".neuron .plot canvas")["height"] > 80
    assert box(browser, "#scrub")["width"] > 300
    plot = find(browser, ".signals canvas")
    tap(browser, plot, x_share=0.5)
    wait_for(browser, lambda: 40 < frame(browser) < 70)


def test_a_phone_shows_one_of_two_policies_first(page, device):
    device(390, 844)
    browser = page("two")
    panels = browser.find_elements(By.CSS_SELECTOR, ".panel")
    assert [panel.is_displayed() for panel in panels] == [True, False]
    browser.find_elements(By.CSS_SELECTOR, "#views button")[2].click()
    assert [panel.is_displayed() for panel in panels] == [True, True]
    assert overflow(browser)[0] <= 0


def test_no_name_breaks_the_page(page):
    browser = page("nasty")
    assert browser.title == browser.execute_script("return document.querySelector('h1').innerText")
    shown = "return arguments[0].textContent"
    assert browser.execute_script(shown, find(browser, ".panel .name")) == NASTY
    press(browser, Keys.ESCAPE, Keys.ARROW_DOWN)
    assert browser.execute_script(shown, find(browser, ".follow option:checked")) == NASTY
    press(browser, Keys.END, "s", Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    heads = browser.find_elements(By.CSS_SELECTOR, ".signals header > span:first-child")
    titles = [browser.execute_script(shown, head) for head in heads]
    assert titles == [NASTY, f"trace {NASTY}", "toString"]
    assert "__proto__" in find(browser, ".signals .overlays").text
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_letter_can_be_told_from_its_ground(browser, pages, scheme):
    prefer(browser, scheme)
    open_page(browser, pages / "maps.html")
    press(browser, "1")
    assert pale_texts(browser) == []
    find(browser, "#help-button").click()
    assert pale_texts(browser) == []
    prefer(browser, "")
