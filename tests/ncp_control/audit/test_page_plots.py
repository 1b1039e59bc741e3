"""The page in a browser: it plays, scrubs, follows neurons, compares, and obeys the keys."""

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ncp_control.audit.inspector import write_inspector
from tests.ncp_control.audit.browsing import (
    find,
    followed,
    frame,
    open_page,
    press,
    scrub,
    wait_for,
)

NUM_BITS = 8  # as the pictures of the small episodes are numbered


def number_in_picture(browser, panel=0):
    """Read the number that the camera's picture spells."""
    levels = browser.execute_script(
        """const canvas = document.querySelectorAll(".camera canvas")[arguments[0]];
        const row = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1);
        return Array.from({length: arguments[1]},
          (_, i) => row.data[4 * Math.floor((i + 0.5) * canvas.width / arguments[1])]);""",
        panel,
        NUM_BITS,
    )
    return sum((level > 127) << bit for bit, level in enumerate(levels))


def synapses(browser, side):
    rows = browser.find_elements(By.CSS_SELECTOR, f".{side} li")
    cells = [row.find_elements(By.CSS_SELECTOR, "*") for row in rows]
    return {c[0].text: float(c[-1].text.replace("−", "-")) for c in cells}


def test_scrubbing_shows_the_frame_that_was_asked_for(page):
    browser = page("one")
    for number in (0, 77, 78, 119, 1):
        scrub(browser, number)
        wait_for(browser, lambda number=number: number_in_picture(browser) == number)
        assert f"frame {number} of 119" in find(browser, "#clock").text


def test_pointing_into_a_plot_moves_to_that_time(page):
    browser = page("one")
    plot = find(browser, ".signals canvas")
    ActionChains(browser).move_to_element(plot).click().perform()
    # The axes' margins are 46 px on the left and 8 px on the right.
    width = plot.size["width"]
    share = (width / 2 - 46) / (width - 54)
    assert frame(browser) == pytest.approx(119 * share, abs=1.5)


def test_play_goes_on_and_pause_stops(page):
    browser = page("one")
    find(browser, "#play").click()
    wait_for(browser, lambda: frame(browser) >= 5)
    find(browser, "#play").click()
    held = frame(browser)
    wait_for(browser, lambda: number_in_picture(browser) == held)
    assert find(browser, "#play").get_attribute("aria-label") == "Play"
    browser.execute_async_script("setTimeout(arguments[0], 150)")
    assert frame(browser) == held


def test_playing_stops_at_the_end_and_starts_over(page):
    browser = page("one")
    scrub(browser, 115)
    press(browser, Keys.SPACE)
    wait_for(browser, lambda: find(browser, "#play").get_attribute("aria-label") == "Play")
    assert frame(browser) == 119
    press(browser, Keys.SPACE)
    wait_for(browser, lambda: 0 < frame(browser) < 110)


def test_keys_step_and_jump(page):
    browser = page("one")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert frame(browser) == 1
    press(browser, Keys.END)
    assert frame(browser) == 119
    press(browser, Keys.SHIFT, Keys.ARROW_LEFT)
    assert frame(browser) == 89
    press(browser, Keys.NULL, Keys.HOME)
    assert frame(browser) == 0
    # On the slider itself a key moves one frame as well, not two.
    find(browser, "#scrub").send_keys(Keys.ARROW_RIGHT)
    assert frame(browser) == 1
    # A list keeps the keys it needs to itself.
    find(browser, "#speed").send_keys(Keys.END)
    assert frame(browser) == 1
    assert find(browser, "#speed").get_property("value") == "4"


def test_a_clicked_neuron_shows_its_traces_and_synapses(page, make_episode):
    browser = page("one")
    episode = make_episode(maps={})
    wiring = episode.wiring
    for name in ("inter_1", "motor_0"):
        find(browser, f'.node[data-neuron="{name}"]').click()
        scrub(browser, 40)
        assert followed(browser) == name
        neuron = wiring.neuron_names.index(name)
        shown = [plot.text for plot in browser.find_elements(By.CSS_SELECTOR, ".neuron .plot b")]
        titles = [title.text for title in browser.find_elements(
            By.CSS_SELECTOR, ".neuron .plot header span:first-child")]  # fmt: skip
        taus_s = make_episode().timescales_s[:, neuron]
        assert f"τ (mean {30 * taus_s.mean():.2f} frames), certified band" in titles
        assert float(shown[0].replace("−", "-")) == pytest.approx(
            episode.states[40, neuron], abs=0.006
        )
        assert shown[1] == f"{float(f'{1e3 * episode.timescales_s[40, neuron]:.3g}'):g} ms"
        for side, here, there in (
            ("incoming", wiring.targets, wiring.sources),
            ("outgoing", wiring.sources, wiring.targets),
        ):
            which = np.flatnonzero(here == neuron + wiring.num_sensory)
            expected = {
                wiring.node_names[there[i]]: episode.synaptic_currents[40, i] for i in which
            }
            assert synapses(browser, side) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("range_s", [(0.0062, 0.0068), (0.003, 0.03), (1e-5, 1.0)])
def test_time_constants_of_any_range_have_labelled_ticks(page, range_s):
    browser = page("one")
    labels = browser.execute_script(
        """const plot = player.panels[0].neuronView.timescale;
        plot.show([{ time_s: [0, 1], values: arguments[0] }], null);
        return plot.valueTicks().map(([label]) => label);""",
        range_s,
    )
    assert len(set(labels)) == len(labels) >= 2


@pytest.mark.parametrize("width", [1024, 1280])
@pytest.mark.parametrize("frames", [0.0096, 0.6, 104.0])
def test_nothing_about_a_neuron_is_cut_off(browser, tmp_path, device, make_episode, width, frames):
    device(width, 800, has_touch=False)
    taus_s = np.full_like(make_episode().states, frames / 30)
    bounds_s = np.stack([0.5 * taus_s[0], 2.0 * taus_s[0]], axis=1)
    panel = make_episode(maps={}, timescales_s=taus_s, timescale_bounds_s=bounds_s)
    open_page(browser, write_inspector(tmp_path / "page.html", [panel]))
    title = browser.find_elements(By.CSS_SELECTOR, ".neuron .plot header span:first-child")[1]
    told = {0.0096: "0.010", 0.6: "0.60", 104.0: "104"}[frames]
    assert title.text == f"τ (mean {told} frames), certified band"
    room = "return arguments[0].clientWidth - arguments[0].scrollWidth"
    assert browser.execute_script(room, title) >= 0
    browser.execute_script("document.querySelector('.neuron .silence').hidden = false")
    assert browser.execute_script(room, find(browser, ".neuron")) >= 0


def test_neurons_are_followed_by_key_and_by_button(page, make_episode):
    browser = page("one")
    names = make_episode().neuron_names
    press(browser, "1")
    assert followed(browser) == "command_0"
    press(browser, Keys.ARROW_DOWN)
    assert followed(browser) == names[names.index("command_0") + 1]
    press(browser, Keys.ESCAPE)
    assert followed(browser) == "none"
    find(browser, '.node[data-neuron="inter_0"]').send_keys(Keys.ENTER)
    assert followed(browser) == "inter_0"
    # Space on a neuron plays; it does not follow.
    find(browser, '.node[data-neuron="inter_2"]').send_keys(Keys.SPACE)
    wait_for(browser, lambda: frame(browser) > 0)
    assert followed(browser) == "inter_0"


def is_coloured(browser):
    """Tell whether a map lies over the camera's picture, which is grey itself."""
    return browser.execute_script(
        """const canvas = document.querySelector(".camera canvas");
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.some((level, i) => i % 4 === 0 && Math.abs(level - data[i + 2]) > 60);"""
    )


def test_saliency_of_the_followed_neuron_is_shown(page):
    browser = page("maps")
    options = [o.text for o in browser.find_elements(By.CSS_SELECTOR, ".saliency option")]
    assert options == ["VisualBackProp", "gradient: followed neuron", "none"]
    wait_for(browser, lambda: is_coloured(browser))
    press(browser, Keys.ESCAPE, "s")  # the followed neuron's, but none is followed
    wait_for(browser, lambda: not is_coloured(browser))
    find(browser, '.node[data-neuron="motor_0"]').click()
    wait_for(browser, lambda: is_coloured(browser))
    find(browser, '.node[data-neuron="inter_0"]').click()  # which has no map
    wait_for(browser, lambda: not is_coloured(browser))


def test_two_policies_run_side_by_side(page):
    browser = page("two")
    panels = browser.find_elements(By.CSS_SELECTOR, ".panel")
    assert [panel.is_displayed() for panel in panels] == [True, True]
    scrub(browser, 50)
    wait_for(browser, lambda: [number_in_picture(browser, i) for i in (0, 1)] == [50, 50])
    scrub(browser, 119)  # the second ended half a second earlier
    wait_for(browser, lambda: [number_in_picture(browser, i) for i in (0, 1)] == [119, 104])
    alone = browser.find_elements(By.CSS_SELECTOR, "#views button")[1]
    assert alone.text == "small-lstm"
    alone.click()
    assert [panel.is_displayed() for panel in panels] == [False, True]


def test_a_unit_of_the_heat_map_can_be_followed(page):
    browser = page("two")
    stage = browser.find_elements(By.CSS_SELECTOR, ".stage canvas")[1]
    ActionChains(browser).move_to_element_with_offset(stage, 0, 0).click().perform()
    assert followed(browser, 1) in ("hidden_4", "hidden_5")
    assert frame(browser) > 0


def segments(browser, plot):
    """The steps (x, y) from point to point of the first line of a plot of signals [px]."""
    points = browser.execute_script(
        """const plot = player.panels[0].signals[arguments[0]], points = [];
        const point = (x, y) => points.push([x, y]);
        const nothing = () => {}, ends = { beginPath: nothing, stroke: nothing };
        const context = { ...ends, setLineDash: nothing, moveTo: point, lineTo: point };
        plot.drawLine(context, plot.lines[0]);
        return points;""",
        plot,
    )
    return np.diff(np.array(points), axis=0)


def test_an_action_holds_until_the_next_frame(browser, tmp_path, make_panel):
    time_s = np.arange(30) / 30
    choices = ["push left", "do not push", "push right"]
    panel = make_panel(
        name="cart",
        time_s=time_s,
        neuron_names=["unit_0"],
        states=time_s[:, None],
        actions=np.stack([np.arange(30) % 3, np.arange(30) % 2], axis=1).astype(float),
        action_names=["push", "lamp"],
        signals={"position [m]": np.sin(9.0 * time_s)},
        choice_names=[choices, ["0", "1"]],
    )
    open_page(browser, write_inspector(tmp_path / "page.html", [panel]))
    for plot in (0, 1):
        steps = np.abs(segments(browser, plot)) > 1e-6
        assert (steps.sum(axis=1) == 1).all()  # each is level or upright
    assert (np.abs(segments(browser, 2)) > 1e-6).all(axis=1).any()
    ticks = "return player.panels[0].signals[arguments[0]].valueTicks().map(([text]) => text)"
    assert browser.execute_script(ticks, 0) == choices
    assert browser.execute_script(ticks, 1) == ["0", "1"]
    scrub(browser, 29)
    assert [b.text for b in browser.find_elements(By.CSS_SELECTOR, ".signals b")][:2] == [
        "push right",
        "1",
    ]
    held = """const plot = player.panels[0].signals[0];
        plot.hover({ offsetX: plot.x(2.9 / 30), clientX: 0, clientY: 0 });
        return document.querySelector("#tip").innerText;"""
    assert "push right" in browser.execute_script(held)  # the third, until the fourth


def test_an_overlaid_signal_shares_the_plot_and_its_scale(page):
    browser = page("overlaid")
    titles = [head.text for head in browser.find_elements(By.CSS_SELECTOR, ".signals header")]
    assert [title.split("\n")[0].split(" human")[0] for title in titles] == [
        "steering",
        "cross-track error [m]",
    ]
    scrub(browser, 31)
    human = find(browser, ".signals .overlays b").text
    assert float(human.replace("−", "-")) == pytest.approx(np.sin(3.1), abs=0.006)
    colours = browser.execute_script(
        """const canvas = document.querySelector(".signals canvas");
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 3).join());
        return [...seen];"""
    )
    assert {"176,48,122", "27,31,38"} <= set(colours)


def test_sensors_are_called_by_what_they_measure(page):
    browser = page("overlaid")
    press(browser, Keys.ESCAPE)
    find(browser, '.node[data-neuron="inter_0"]').click()
    incoming = synapses(browser, "incoming")
    assert any(name.startswith("angle ") for name in incoming)
    assert not any(name.startswith("sensory_") for name in incoming)
