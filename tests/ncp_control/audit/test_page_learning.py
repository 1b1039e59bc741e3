"""What makes the page a place to learn: silencing, keeping, hovering, zooming, links, pictures."""

import re
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ncp_control import LTC, VectorPolicy, auto_ncp
from ncp_control.audit.ablation import ablation_effects
from ncp_control.audit.excerpt import Excerpt, act_on
from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import write_inspector
from tests.ncp_control.audit.browsing import (
    find,
    followed,
    frame,
    open_page,
    overflow,
    press,
    scrub,
    tap,
    wait_for,
)

FRAMES = 120


@pytest.fixture(scope="module")
def acted():
    """A policy of five sensors that acted for four seconds, and the episode."""
    torch.manual_seed(0)
    cell = LTC(auto_ncp(5, 14, 2, seed=0))
    with torch.no_grad():
        cell.output_scale.fill_(2.0)
    policy = VectorPolicy(cell, observation_size=5).eval()
    rng = np.random.default_rng(1)
    seen = 0.4 * np.cumsum(rng.normal(size=(FRAMES, 5)), axis=0).astype(np.float32)
    pictures = rng.integers(0, 255, (FRAMES, 24, 36, 3), dtype=np.uint8)
    shown = Excerpt(dt_s=np.full(FRAMES, 1 / 30), observations=seen, pictures=pictures)
    return policy, act_on(policy, shown, name="small")


@pytest.fixture(scope="module")
def pages(acted, tmp_path_factory, dense_episode):
    """The page of that episode, and one beside a policy without wiring."""
    folder, panel = tmp_path_factory.mktemp("pages"), inspected(*acted)
    write_inspector(folder / "one.html", [panel], title="A small circuit")
    write_inspector(folder / "two.html", [panel, dense_episode])
    return folder


@pytest.fixture
def page(browser, pages):
    """Open one of the pages, perhaps at a link; afterwards its console must be empty."""
    yield lambda name="one", link="": open_page(browser, pages / f"{name}.html", link)
    assert browser.get_log("browser") == []


def node(browser, name):
    return find(browser, f'.node[data-neuron="{name}"]')


def choose_mode(browser, mode):
    find(browser, f'.mode input[value="{mode}"]').click()


def silent(browser):
    return [
        n.get_attribute("data-neuron") for n in browser.find_elements(By.CSS_SELECTOR, ".silent")
    ]


def link_of(browser):
    return parse_qs(browser.execute_script("player.link(); return location.hash.slice(1)"))


def test_clicked_neurons_are_silenced_and_the_effect_is_told(page, acted):
    policy, episode = acted
    browser = page()
    before = followed(browser)
    assert node(browser, "inter_1").get_attribute("aria-label") == "Follow inter_1"
    choose_mode(browser, "silence")
    assert node(browser, "inter_1").get_attribute("aria-label") == "Silence inter_1"
    node(browser, "inter_1").click()
    assert silent(browser) == ["inter_1"] and followed(browser) == before
    assert node(browser, "inter_1").get_attribute("aria-label") == "Restore inter_1"
    mean = float(episode.recorded_activity.states[0, :, 1].double().mean())
    (effect,) = ablation_effects(
        policy,
        torch.from_numpy(episode.recorded_features),
        episode.recorded_activity.dt_s[0],
        neurons={"inter_1": mean},
    )
    assert float(find(browser, ".silenced .rms").text) == pytest.approx(effect.rms, abs=5e-4)
    assert float(find(browser, ".silenced .largest").text) == pytest.approx(
        effect.largest, abs=5e-4
    )
    heads = browser.find_elements(By.CSS_SELECTOR, ".signals .overlays")
    assert all(head.text.startswith("without inter_1") for head in heads[:2])
    find(browser, ".silenced .when").click()  # leads to the moment of the largest change
    shown = browser.execute_script(
        """const {actions, ablated} = player.episodes[0];
        const now = (table) => [0, 1].map((k) => table.at(player.frame, k));
        const [at, without] = [now(actions), now(ablated.actions)];
        return at.map((value, k) => Math.abs(value - without[k]));"""
    )
    assert max(shown) == pytest.approx(effect.largest, abs=1e-4)
    node(browser, "command_0").click()
    assert silent(browser) == ["inter_1", "command_0"]
    find(browser, ".silenced button:last-child").click()
    assert silent(browser) == []
    choose_mode(browser, "follow")
    assert not find(browser, ".silenced").is_displayed()
    assert all(head.text == "" for head in heads[:2])


def test_the_neurons_that_count_most_are_offered(page, acted):
    policy, episode = acted
    names = policy.circuit.cell.neuron_names
    means = episode.recorded_activity.states[0].double().mean(dim=0).tolist()
    given = torch.from_numpy(episode.recorded_features)
    effects = ablation_effects(
        policy,
        given,
        episode.recorded_activity.dt_s[0],
        neurons=dict(zip(names, means, strict=True)),
    )
    most = sorted(effects, key=lambda effect: -effect.rms)[:5]
    browser = page()
    choose_mode(browser, "silence")
    find(browser, ".try-each").click()
    chips = browser.find_elements(By.CSS_SELECTOR, ".silenced button")
    assert [chip.text.split()[0] for chip in chips] == [effect.name for effect in most]
    told = [float(chip.text.split()[1]) for chip in chips]
    assert told == pytest.approx([effect.rms for effect in most], abs=6e-4)
    chips[0].click()
    assert silent(browser) == [most[0].name]


def test_neurons_are_silenced_by_key_and_by_finger(page, device):
    browser = page()
    press(browser, "1", "x")
    assert silent(browser) == ["command_0"]
    node(browser, "inter_2").send_keys("x")
    assert silent(browser) == ["inter_2", "command_0"]
    press(browser, "x")
    assert silent(browser) == ["inter_2"]
    device(390, 844)
    browser = page()
    choose_mode(browser, "silence")
    for name in ("inter_1", "inter_2", "command_1"):
        tap(browser, node(browser, name))
    wait_for(browser, lambda: len(silent(browser)) == 3)
    assert overflow(browser)[0] <= 0
    for about in browser.find_elements(By.CSS_SELECTOR, "button.about"):
        assert min(about.size["width"], about.size["height"]) >= 40


def test_kept_neurons_are_drawn_beside_the_followed_one(page):
    browser = page()
    press(browser, "1", "k")
    node(browser, "inter_0").send_keys("k")
    ActionChains(browser).key_down(Keys.SHIFT).click(node(browser, "inter_3")).key_up(
        Keys.SHIFT
    ).perform()
    press(browser, "2")
    chips = browser.find_elements(By.CSS_SELECTOR, ".kept button")
    assert [chip.text.split()[0] for chip in chips] == ["command_0", "inter_0", "inter_3"]
    lines = "return player.panels[0].neuronView.state.lines.map(({name}) => name)"
    assert browser.execute_script(lines) == ["command_1", "command_0", "inter_0", "inter_3"]
    press(browser, "3", "k", "4", "k", "5", "k")  # the oldest go
    assert len(browser.find_elements(By.CSS_SELECTOR, ".kept button")) == 4
    find(browser, ".kept button").click()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".kept button")) == 3


def test_values_are_shown_under_the_pointer(page, acted):
    _, episode = acted
    browser = page()
    plot = find(browser, ".signals canvas")
    ActionChains(browser).move_to_element(plot).perform()
    title, told = find(browser, "#tip").text.split("\n")
    time_s = float(title.removesuffix(" s"))
    value = episode.actions[round(30 * time_s), 0]
    assert 1.0 < time_s < 3.0
    assert float(told.split()[-1].replace("−", "-")) == pytest.approx(value, abs=0.006)
    scrub(browser, 50)
    ActionChains(browser).move_to_element(node(browser, "inter_2")).perform()
    told = find(browser, "#tip").text.split("\n")
    assert told[0] == "inter_2"
    potential = float(episode.recorded_activity.states[0, 50, 2])
    assert float(told[1].split()[-1].replace("−", "-")) == pytest.approx(potential, abs=0.006)
    ActionChains(browser).move_to_element(find(browser, "h1")).perform()
    assert not find(browser, "#tip").is_displayed()


def shown_times(browser):
    return browser.execute_script("return player.axis.range")


def test_time_is_zoomed_around_now_and_follows_it(page):
    browser = page()
    scrub(browser, 60)
    press(browser, "+", "+")
    from_s, to_s = shown_times(browser)
    assert to_s - from_s == pytest.approx(119 / 30 / 4, abs=1e-3)
    assert from_s < 2.0 < to_s
    press(browser, Keys.END)
    assert shown_times(browser)[1] == pytest.approx(119 / 30, abs=1e-3)
    press(browser, "0")
    assert shown_times(browser) == pytest.approx([0.0, 119 / 30], abs=1e-3)
    assert not find(browser, "#zoom-out").is_enabled()
    press(browser, *"+++++++++")
    from_s, to_s = shown_times(browser)
    assert to_s - from_s == pytest.approx(0.05, abs=1e-6)
    plot = find(browser, ".signals canvas")  # a click leads to a time that is shown
    ActionChains(browser).move_to_element(plot).click().perform()
    assert from_s <= browser.execute_script("return player.time_s") + 0.02 <= to_s + 0.04


def test_a_link_leads_to_the_same_moment(page):
    browser = page()
    press(browser, "1", "k", "2")
    node(browser, "inter_1").send_keys("x")
    scrub(browser, 45)
    press(browser, "+")
    told = link_of(browser)
    assert told["follow"] == ["command_1"] and told["keep"] == ["command_0"]
    assert told["silent"] == ["inter_1"] and told["t"] == ["1.5"]
    link = browser.execute_script("return location.hash")
    browser = page(link=link)
    assert frame(browser) == 45 and followed(browser) == "command_1"
    assert silent(browser) == ["inter_1"]
    assert link_of(browser) == told
    browser.execute_script("location.hash = '#t=1&follow=motor_0'")  # as one types it
    wait_for(browser, lambda: frame(browser) == 30)
    assert followed(browser) == "motor_0" and silent(browser) == []


@pytest.mark.parametrize(
    "link", ["#", "#t=x&zoom=4,1&view=9", "#t=9e9&follow=nobody&silent=__proto__"]
)
def test_a_broken_link_opens_the_page(page, link):
    browser = page("two", link)
    press(browser, Keys.HOME, Keys.ARROW_RIGHT)
    assert frame(browser) == 1 and silent(browser) == []


def test_both_policies_of_a_page_are_in_its_link(page):
    browser = page("two")
    node(browser, "inter_1").send_keys("x")
    browser.find_elements(By.CSS_SELECTOR, "#views button")[1].click()
    press(browser, Keys.ARROW_DOWN)
    told = link_of(browser)
    assert told["view"] == ["1"] and told["silent"] == ["inter_1"]
    browser = page("two", browser.execute_script("return location.hash"))
    assert link_of(browser) == told


def test_every_part_says_what_it_means(page):
    browser = page("two")
    read = "return [...document.querySelectorAll('.about-text')].map((box) => box.textContent)"
    texts = browser.execute_script(read)
    assert len(texts) == 8  # picture or camera, circuit, neuron, signals
    assert all(len(text.split()) > 15 for text in texts)
    neuron = followed(browser)
    for button in browser.find_elements(By.CSS_SELECTOR, "button.about")[::3]:
        button.send_keys(Keys.ENTER)
        place = find(browser, ".about-text:popover-open").rect
        assert place["x"] >= 0 and place["y"] >= 0
        assert place["y"] + place["height"] <= browser.execute_script("return innerHeight")
        press(browser, Keys.ESCAPE)
        assert not browser.find_elements(By.CSS_SELECTOR, ".about-text:popover-open")
    assert followed(browser) == neuron


def test_the_page_is_saved_as_a_picture(page, browser, tmp_path):
    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    browser = page()
    press(browser, "1", "x")
    find(browser, "#picture").click()
    wait_for(browser, lambda: list(tmp_path.glob("*.png")))  # under its name once it is whole
    (path,) = tmp_path.glob("*.png")
    assert path.name == "A-small-circuit-0.00-s.png"
    width, height = browser.execute_script(
        "const {width, height} = player.panels[0].root.getBoundingClientRect();"
        "return [width, height];"
    )
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[1] == pytest.approx(2 * (width + 24), abs=2)
    assert picture.shape[0] == pytest.approx(2 * (height + 46), abs=2)
    styles = browser.execute_script("return colours")
    for name in ("ink", "without", "card", "exciting", "inhibiting"):
        wanted = [int(part, 16) for part in re.findall("..", styles[name][1:])]
        assert (picture == wanted).all(axis=2).any(), name
