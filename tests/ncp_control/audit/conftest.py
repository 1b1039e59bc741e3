from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Circuit, Policy, auto_ncp
from ncp_control.audit.inspector import Panel, TrackMap
from ncp_control.circuit import Activity
from ncp_control.episode import Episode
from tests.ncp_control.audit.browsing import open_page, start_browser
from tests.ncp_control.audit.pages import write_pages

NUM_BITS = 8


class ConvPolicy(Policy):
    """Three convolutions with ReLUs, summed into one number for each map."""

    def __init__(self, cell, layers):
        super().__init__(Circuit(cell))
        self.layers = layers

    def perceive(self, observation):
        pixels = observation.to(next(self.parameters()).dtype).permute(0, 3, 1, 2)
        return self.layers(pixels).sum((2, 3))


@pytest.fixture
def conv_policy():
    return ConvPolicy


@pytest.fixture
def recorded():
    """The 19-neuron circuit on 120 frames of slowly varying random inputs."""
    torch.manual_seed(0)
    circuit = Circuit(LTC(NCP19))
    walk = np.cumsum(np.random.default_rng(0).normal(size=(1, 120, 32)), axis=1)
    inputs = torch.tensor(0.3 * walk, dtype=torch.float32)
    return circuit, inputs, circuit.record(inputs)


def numbered_frames(count, height=24, width=48):
    """Frames that spell their number: a column of white for each bit that is set."""
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    for i in range(count):
        for bit in range(NUM_BITS):
            if i >> bit & 1:
                frames[i, :, bit * width // NUM_BITS : (bit + 1) * width // NUM_BITS] = 255
    return frames


def make_panel(
    *, states, neuron_names, timescales_s=None, synaptic_currents=None, signals=None, **parts
):
    """A panel from its parts: those of an activity, of an episode, and its own."""
    of_panel = {field.name for field in fields(Panel)}
    own = {name: parts.pop(name) for name in of_panel & set(parts)}
    tensors = {"states": states, "timescales_s": timescales_s}
    tensors |= {"synaptic_currents": synaptic_currents}
    zeros = np.zeros(len(parts["time_s"]))
    activity = Activity(
        neuron_names=neuron_names, dt_s=torch.zeros(1, len(states)), reset=None,
        outputs=torch.zeros(1, len(states), 1),
        **{k: None if v is None else torch.tensor(v)[None] for k, v in tensors.items()},
    )  # fmt: skip
    episode = Episode(
        dt_s=zeros, rewards=zeros, activity=activity, signals=signals or {}, **parts
    )  # fmt: skip
    return Panel(episode=episode, **own)


def small_parts():
    """The parts of a small episode of a wired circuit that drives round a circle."""
    count, wiring = 120, auto_ncp(4, 8, 1, seed=3)
    rng = np.random.default_rng(0)
    time_s = np.arange(count) / 30
    phase = rng.uniform(0, 6, wiring.num_neurons)
    states = np.sin(time_s[:, None] + phase)
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    driven = np.stack([np.cos(time_s / 2), np.sin(time_s / 2)], axis=1)
    ones = np.ones(wiring.num_neurons)
    return {
        "name": "small-ncp",
        "facts": {"neurons": "8"},
        "time_s": time_s,
        "neuron_names": wiring.neuron_names,
        "wiring": wiring,
        "states": states,
        "timescales_s": 0.02 * np.exp(states),
        "state_bounds": np.stack([-1.5 * ones, 1.5 * ones], axis=1),
        "timescale_bounds_s": np.stack([0.005 * ones, 0.1 * ones], axis=1),
        "synaptic_currents": rng.normal(size=(count, wiring.num_synapses)),
        "features": rng.uniform(size=(count, 4)),
        "actions": states[:, -1:],
        "action_names": ["steering"],
        "pictures": numbered_frames(count),
        "maps": {
            "VisualBackProp": rng.uniform(size=(count, 12, 24)),
            "gradient: motor_0": rng.uniform(size=(count, 12, 24)),
        },
        "signals": {"cross-track error [m]": 0.1 * np.cos(time_s)},
        "track": TrackMap(left_edge_m=48 * circle, right_edge_m=52 * circle, driven_m=50 * driven),
    }


def make_episode(**changes):
    """The small episode, with changes."""
    return make_panel(**(small_parts() | changes))


def make_dense_episode():
    """The same drive by a policy without wiring, half a second shorter."""
    count = 105
    units = np.sin(np.arange(count)[:, None] / 30 + np.arange(10))
    return make_panel(
        name="small-lstm",
        time_s=np.arange(count) / 30,
        neuron_names=[f"hidden_{i}" for i in range(10)],
        states=units,
        actions=units[:, :1],
        action_names=["steering"],
        pictures=numbered_frames(count),
    )


@pytest.fixture(scope="session", name="make_panel")
def _make_panel():
    """Make a panel from its parts."""
    return make_panel


@pytest.fixture(scope="session", name="small_parts")
def _small_parts():
    """The parts of the small wired episode by name."""
    return SimpleNamespace(**small_parts())


@pytest.fixture(scope="session", name="make_episode")
def _make_episode():
    """Make the small wired episode, with changes."""
    return make_episode


@pytest.fixture(scope="session")
def dense_episode():
    """The small episode of a policy without wiring."""
    return make_dense_episode()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One headless Chromium for all tests of the page."""
    browser = start_browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.quit()


@pytest.fixture
def device(browser):
    """Give the window the size of a device, and fingers; afterwards it is as before."""

    def resize(width, height, *, has_touch=True):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": has_touch}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": has_touch})

    yield resize
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """The folder of the pages of small episodes."""
    folder = tmp_path_factory.mktemp("pages")
    write_pages(folder, make_panel, make_episode, make_dense_episode())
    return folder


@pytest.fixture
def page(browser, pages):
    """Open one of the pages; afterwards its console must be empty."""

    yield lambda name: open_page(browser, pages / f"{name}.html")
    assert browser.get_log("browser") == []
