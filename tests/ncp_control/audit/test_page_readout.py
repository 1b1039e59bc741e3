"""Outputs that read other neurons than their motor neurons, as the page draws and tells them."""

import numpy as np
import pytest
import torch
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ncp_control import LRC, LTC, STC, VectorPolicy, auto_ncp
from ncp_control.audit.ablation import ablate
from ncp_control.audit.inspection import inspected
from tests.ncp_control.audit.browsing import find, press, scrub
from tests.ncp_control.audit.test_page_circuit import (
    FRAMES,
    episode_of,
    make_policy,
    means_of,
    show,  # noqa: F401 - a fixture
)


@pytest.mark.parametrize("make_cell", [LTC, LRC, STC])
@pytest.mark.parametrize("reads", ["command", "all"])
def test_the_read_out_is_the_derivative_of_the_outputs(make_cell, reads):
    cell = make_cell(auto_ncp(5, 14, 2, seed=0), reads=reads)
    with torch.no_grad():
        cell.output_scale.uniform_(0.5, 2.0)
        cell.read_weight.uniform_(-0.5, 0.5)
    policy = VectorPolicy(cell, observation_size=5).eval()
    found = inspected(policy, episode_of(policy)).read_weights
    wanted = torch.autograd.functional.jacobian(cell.readout, torch.randn(cell.state_size))
    assert np.allclose(found, wanted.numpy(), atol=1e-6)


def sums(browser, num_outputs, frame):
    """What all lines add to each output in a frame."""
    return browser.execute_script(
        """const {readout} = player.panels[0].circuit, sums = Array(arguments[0]).fill(0);
        for (const line of readout.lines) sums[line.output] += readout.term(arguments[1], line);
        return sums;""",
        num_outputs,
        frame,
    )


@pytest.mark.parametrize("reads", ["command", "all"])
def test_the_lines_add_up_to_the_output(show, reads):  # noqa: F811
    policy = make_policy(reads=reads, squash="tanh")
    episode = episode_of(policy)
    browser = show(policy, episode)
    offset = policy.circuit.cell.output_offset.detach().numpy()
    for frame in (0, 40, FRAMES - 1):
        wanted = episode.recorded_activity.outputs[0, frame].numpy()
        assert np.allclose(sums(browser, 2, frame) + offset, wanted, atol=2e-4)
    held = means_of(policy, episode, "command_0", "inter_1")
    browser.execute_script(
        """const [panel] = player.panels;
        panel.silence(arguments[0].map((name) => panel.episode.neuron_names.indexOf(name)));""",
        list(held),
    )
    outputs, _ = ablate(policy, neurons=held).circuit(
        torch.from_numpy(episode.recorded_features)[None], dt_s=episode.recorded_activity.dt_s[:1]
    )
    wanted = outputs[0, 40].detach().numpy()
    assert np.abs(wanted - episode.recorded_activity.outputs[0, 40].numpy()).max() > 1e-3
    assert np.allclose(sums(browser, 2, 40) + offset, wanted, atol=1e-4)


def blueness(browser, neuron):
    """Blue less red where the line from a neuron to the first output is half way, at its purest."""
    return browser.execute_script(
        """const {circuit} = player.panels[0], {canvas} = circuit.surface;
        const from = circuit.places[circuit.wiring.names.indexOf(arguments[0])];
        const to = circuit.places[circuit.readout.column.nodes[0]];
        const scale = canvas.width / circuit.surface.width;
        const at = [(from.x + to.x) / 2, (from.y + to.y) / 2].map((v) => Math.round(scale * v - 6));
        const read = new OffscreenCanvas(13, 13).getContext("2d", {willReadFrequently: true});
        read.drawImage(canvas, ...at, 13, 13, 0, 0, 13, 13);
        const {data} = read.getImageData(0, 0, 13, 13);
        let purest = 0;
        for (let i = 0; i < data.length; i += 4) {
          const blue = data[i + 2] - data[i];
          if (Math.abs(blue) > Math.abs(purest)) purest = blue;
        }
        return purest;""",
        neuron,
    )


def test_a_line_is_blue_where_the_neuron_raises_the_command(show):  # noqa: F811
    policy = make_policy(wiring=auto_ncp(5, 14, 1, seed=0), reads="command")
    with torch.no_grad():
        policy.circuit.cell.read_weight[:] = 0.0
        policy.circuit.cell.read_weight[0, :2] = torch.tensor([0.5, -0.5])
    episode = episode_of(policy)
    browser = show(policy, episode)
    scrub(browser, 40)
    find(browser, '.node[data-neuron="command_0"]').click()
    assert blueness(browser, "command_0") > 60
    find(browser, '.node[data-neuron="command_1"]').click()
    assert blueness(browser, "command_1") < -60
    find(browser, '.node[data-neuron="command_2"]').click()
    assert abs(blueness(browser, "command_2")) < 40  # what is not read has no line
    assert "the command reads 2 other neurons, too" in find(browser, ".stage canvas").get_attribute(
        "aria-label"
    )


def test_a_neuron_tells_what_it_adds(show):  # noqa: F811
    policy = make_policy(reads="command")
    episode = episode_of(policy)
    browser = show(policy, episode)
    press(browser, Keys.ESCAPE)
    scrub(browser, 40)
    find(browser, '.node[data-neuron="command_1"]').click()
    cell = policy.circuit.cell
    state = episode.recorded_activity.states[0, 40, cell.neuron_names.index("command_1")]
    told = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#tip > span")]
    told = dict(row.rsplit(" ", 1) for row in told)
    for action, weight in enumerate(cell.read_weight[:, 1].tolist()):
        found = float(told[f"adds to action {action}"].replace("−", "-"))
        assert found == pytest.approx(weight * float(state), abs=0.006)


def test_the_commands_that_read_a_neuron_are_listed_after_its_synapses(show):  # noqa: F811
    policy = make_policy(reads="command")
    with torch.no_grad():
        policy.circuit.cell.read_weight[:, 1] = torch.tensor([0.2, -0.7])
    episode = episode_of(policy)
    browser = show(policy, episode)
    scrub(browser, 40)
    find(browser, '.node[data-neuron="command_1"]').click()
    number = policy.circuit.cell.neuron_names.index("command_1")
    potential = float(episode.recorded_activity.states[0, 40, number])
    assert potential != pytest.approx(0.0, abs=0.02)
    rows = [row.text.split("\n") for row in browser.find_elements(By.CSS_SELECTOR, ".readout li")]
    assert [name for name, _ in rows] == ["action 1", "action 0"]  # the strongest first
    added = [float(value.replace("−", "-")) for _, value in rows]
    assert added == pytest.approx([-0.7 * potential, 0.2 * potential], abs=0.006)
    find(browser, '.node[data-neuron="inter_0"]').click()
    assert browser.find_elements(By.CSS_SELECTOR, ".readout li") == []
    assert find(browser, "h3.of-readout").text.startswith("Read by the output (0)")


@pytest.mark.parametrize(
    ("choices", "expected"),
    [((4,), ["0", "1", "2", "3"]), ((2, 2), [f"action {i}: {k}" for i in (0, 1) for k in (0, 1)])],
)
def test_scores_are_called_by_their_choices(show, choices, expected):  # noqa: F811
    policy = make_policy(wiring=auto_ncp(5, 14, 4, seed=0), reads="all", choices=choices)
    browser = show(policy, episode_of(policy))
    names = browser.execute_script("return player.panels[0].circuit.readout.names")
    assert names == expected


def test_outputs_of_motor_neurons_alone_have_no_column(show):  # noqa: F811
    policy = make_policy()
    browser = show(policy, episode_of(policy))
    columns = browser.execute_script("return player.panels[0].circuit.columns.map((c) => c.name)")
    assert columns == ["sensory", "inter", "command", "motor"]
    assert browser.find_elements(By.CSS_SELECTOR, ".legend .dashes") == []
    assert not find(browser, "h3.of-readout").is_displayed()
