"""A headless Chromium for tests of the inspector's page, and what they do with it."""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,940",
)


def start_browser(folder):
    """Start a browser that keeps its files in a folder."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver on the PATH: install them to test the page")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def open_page(browser, path, link=""):
    """Open a page, as it is or at a link, and wait until it is drawn."""
    browser.get("about:blank")  # a link within the page that is open would not load it anew
    browser.get_log("browser")
    browser.get(path.as_uri() + link)
    browser.execute_async_script(  # a loaded machine may not have drawn it yet
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )
    return browser


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def frame(browser):
    return int(find(browser, "#scrub").get_property("value"))


def press(browser, *keys):
    find(browser, "body").send_keys(*keys)


def scrub(browser, number):
    browser.execute_script(
        "const scrub = document.getElementById('scrub'); scrub.value = arguments[0];"
        "scrub.dispatchEvent(new Event('input'));",
        number,
    )


def wait_for(browser, condition):
    WebDriverWait(browser, 10, poll_frequency=0.02).until(lambda _: condition())


def followed(browser, panel=0):
    select = browser.find_elements(By.CSS_SELECTOR, ".follow")[panel]
    return browser.execute_script("return arguments[0].selectedOptions[0].text", select)


def overflow(browser):
    return browser.execute_script(
        "const d = document.documentElement;"
        "return [d.scrollWidth - innerWidth, d.scrollHeight - innerHeight];"
    )


def tap(browser, element, x_share=0.5):
    """Touch an element with a finger, at a share of its width."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    at = browser.execute_script(
        "const b = arguments[0].getBoundingClientRect();"
        "return [b.x + arguments[1] * b.width, b.y + b.height / 2]",
        element,
        x_share,
    )
    touch = {"touchPoints": [{"x": at[0], "y": at[1]}]}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", **touch})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def prefer(browser, scheme):
    """Let the browser ask for light or dark pages; for its own choice if empty."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def pale_texts(browser):
    """Return a line for each text of the page that is too pale to be read, by WCAG's AA."""
    found = browser.execute_script(Path(__file__).with_name("contrast.js").read_text())
    assert found["seen"] > 10
    return found["faults"]
