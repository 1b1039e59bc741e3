"""The circuit that the page runs: it is the one in Python, with all neurons and without some."""

import numpy as np
import pytest
import torch

from ncp_control import (
    CTGRU,
    CTRNN,
    GRU,
    LSTM,
    LTC,
    NCP19,
    CfC,
    Circuit,
    Policy,
    VectorPolicy,
    WiredCfC,
    auto_ncp,
)
from ncp_control.audit.ablation import ablate, ablation_effects
from ncp_control.audit.excerpt import Excerpt, act_on
from ncp_control.audit.inspection import inspected
from ncp_control.audit.inspector import write_inspector
from tests.ncp_control.audit.browsing import find, open_page, press

FRAMES = 90
READ = {
    "states": "player.episodes[0].rerun.whole.states.values",
    "actions": "player.episodes[0].rerun.whole.actions.values",
    "timescales_s": "player.episodes[0].rerun.whole.timescales_s.values",
}


def make_policy(seed=0, **settings):
    """A policy of numbers whose circuit is not at its first values."""
    options = {name: settings.pop(name) for name in ("squash", "choices") if name in settings}
    torch.manual_seed(seed)
    cell = LTC(settings.pop("wiring", auto_ncp(5, 14, 2, seed=seed)), **settings)
    with torch.no_grad():
        cell.input_scale.uniform_(-2.0, 2.0)
        cell.input_offset.uniform_(-0.5, 0.5)
        cell.output_scale.uniform_(0.5, 2.0)
        cell.raw_capacitance.add_(torch.randn_like(cell.raw_capacitance))
        if cell.read_weight is not None:
            cell.read_weight.uniform_(-0.5, 0.5)
    return VectorPolicy(cell, observation_size=cell.input_size, **options).eval()


def episode_of(policy, seed=1):
    """What a policy does on smooth numbers at irregular times, with a second without frames."""
    rng = np.random.default_rng(seed)
    seen = 0.3 * np.cumsum(rng.normal(size=(FRAMES, policy.observation_size)), axis=0)
    dt_s = rng.uniform(0.001, 0.08, FRAMES)
    dt_s[FRAMES // 2] = 1.0
    return act_on(policy, Excerpt(dt_s=dt_s, observations=seen.astype(np.float32)))


def means_of(policy, episode, *names):
    states = episode.recorded_activity.states[0].double().mean(dim=0)
    return {name: float(states[policy.circuit.cell.neuron_names.index(name)]) for name in names}


def actions_without(policy, episode, held):
    return act_anew(ablate(policy, neurons=held), episode)


@torch.no_grad()
def act_anew(policy, episode):
    outputs, _ = policy.circuit(
        torch.from_numpy(episode.recorded_features)[None], dt_s=episode.recorded_activity.dt_s[:1]
    )
    return policy.command(policy.respond(outputs)[0].numpy())


@pytest.fixture
def show(browser, tmp_path):
    """Open the page of a policy's episode; afterwards its console must be empty."""

    def open_episode(policy, episode):
        path = write_inspector(tmp_path / "page.html", [inspected(policy, episode)])
        return open_page(browser, path)

    yield open_episode
    assert browser.get_log("browser") == []


def read(browser, script, columns):
    return np.array(browser.execute_script(f"return Array.from({script})")).reshape(-1, columns)


def silence(browser, names):
    """Silence neurons by their names and return the command of every frame."""
    return browser.execute_script(
        """const [panel] = player.panels;
        panel.silence(arguments[0].map((name) => panel.episode.neuron_names.indexOf(name)));
        return Array.from(panel.episode.ablated.actions.values);""",
        names,
    )


CIRCUITS = {
    "semi-implicit": {},
    "explicit": {"integrator": "explicit_euler", "unfolds": 3},
    "exponential": {"integrator": "exponential_euler", "unfolds": 2},
    "midpoint": {"integrator": "layered_midpoint", "unfolds": 2},
    "reads-all": {"reads": "all", "squash": "tanh"},
    "driving-circuit": {"wiring": NCP19},
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_page_computes_what_python_computes(show, name):
    policy = make_policy(**CIRCUITS[name])
    episode = episode_of(policy)
    browser = show(policy, episode)
    activity, size = episode.recorded_activity, policy.circuit.cell.state_size
    states = read(browser, READ["states"], size)
    assert np.abs(states - activity.states[0].numpy()).max() < 1e-5
    taus_s = read(browser, READ["timescales_s"], size)
    assert np.allclose(taus_s, activity.timescales_s[0].numpy(), rtol=1e-4)
    actions = read(browser, READ["actions"], episode.actions.shape[1])
    assert np.ptp(episode.actions) > 0.1
    assert np.abs(actions - episode.actions).max() < 1e-5
    held = means_of(policy, episode, "inter_1", "command_0")
    wanted = actions_without(policy, episode, held)
    assert np.abs(wanted - episode.actions).max() > 0.01
    without = np.reshape(silence(browser, list(held)), wanted.shape)
    assert np.abs(without - wanted).max() < 1e-5


WIRING = auto_ncp(5, 14, 2, seed=0)
CELLS = {
    "cfc": lambda: CfC(5, 9, 2, backbone_units=7, backbone_layers=2),
    "cfc-no-gate": lambda: CfC(5, 9, 2, mode="no_gate", backbone_units=7, activation="silu"),
    "cfc-pure": lambda: CfC(5, 9, 2, mode="pure", backbone_layers=0),
    "wired": lambda: WiredCfC(WIRING),
    "wired-no-gate": lambda: WiredCfC(WIRING, mode="no_gate"),
    "wired-pure": lambda: WiredCfC(WIRING, mode="pure"),
    "ct-rnn": lambda: CTRNN(5, 9, 2, unfolds=3),
    "lstm": lambda: LSTM(5, 9, 2),
    "lstm-with-time": lambda: LSTM(5, 9, 2, sees_time=True),
    "gru": lambda: GRU(5, 9, 2),
    "gru-with-time": lambda: GRU(5, 9, 2, sees_time=True),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_page_computes_other_cells_as_python_does(show, name):
    torch.manual_seed(3)
    cell = CELLS[name]()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    policy = VectorPolicy(cell, observation_size=5, squash="tanh").eval()
    episode = episode_of(policy)
    browser = show(policy, episode)
    activity, size = episode.recorded_activity, cell.num_visible
    states = read(browser, READ["states"], size)
    assert np.abs(states - activity.states[0, :, :size].numpy()).max() < 1e-5
    if activity.timescales_s is not None:
        taus_s = read(browser, READ["timescales_s"], size)
        assert np.allclose(taus_s, activity.timescales_s[0].numpy(), rtol=1e-4)
    actions = read(browser, READ["actions"], 2)
    assert np.ptp(episode.actions) > 0.1
    assert np.abs(actions - episode.actions).max() < 1e-5
    held = means_of(policy, episode, *(cell.neuron_names[i] for i in (2, size - 1)))
    wanted = actions_without(policy, episode, held)
    assert np.abs(wanted - episode.actions).max() > 0.01
    without = np.reshape(silence(browser, list(held)), wanted.shape)
    assert np.abs(without - wanted).max() < 1e-5
    assert find(browser, ".mode").is_displayed()


def test_a_row_of_a_unit_is_clicked_to_silence_it(show):
    policy = VectorPolicy(LSTM(5, 9, 2), observation_size=5).eval()
    browser = show(policy, episode_of(policy))
    find(browser, ".mode input[value=silence]").click()
    find(browser, ".stage canvas").click()  # the middle: hidden_4
    told = find(browser, ".silenced").text
    assert told.startswith("Without hidden_4") and "(RMS), most at" in told
    assert browser.execute_script("return player.episodes[0].silent") == [4]
    assert "click rows to take them away" in find(browser, ".circuit .about-text").get_attribute(
        "textContent"
    )


def test_the_effect_is_the_one_of_the_audit(show):
    policy = make_policy()
    episode = episode_of(policy)
    browser = show(policy, episode)
    names = policy.circuit.cell.neuron_names
    effects = ablation_effects(
        policy,
        torch.from_numpy(episode.recorded_features),
        episode.recorded_activity.dt_s[0],
        neurons=means_of(policy, episode, *names),
    )
    for effect in effects:
        silence(browser, [effect.name])
        found = browser.execute_script("return player.episodes[0].ablated.change")
        assert found["rms"] == pytest.approx(effect.rms, abs=1e-5)
        assert found["largest"] == pytest.approx(effect.largest, abs=1e-5)


def test_the_currents_are_those_of_the_circuit_without_the_neuron(show):
    policy = make_policy()
    episode = episode_of(policy)
    browser = show(policy, episode)
    held = means_of(policy, episode, "inter_1")
    silence(browser, list(held))
    ablated = ablate(policy, neurons=held)
    activity = ablated.circuit.record(
        torch.from_numpy(episode.recorded_features)[None], dt_s=episode.recorded_activity.dt_s[:1]
    )
    wanted = activity.synaptic_currents[0, -1].numpy()
    found = browser.execute_script(
        """const {synaptic_currents: found} = player.episodes[0].ablated;
        return Array.from({length: arguments[0]}, (_, i) => found.at(arguments[1], i));""",
        len(wanted),
        FRAMES - 1,
    )
    assert np.allclose(found, wanted, atol=1e-5)


def test_choices_are_taken_as_by_the_policy(show):
    policy = make_policy(wiring=auto_ncp(5, 14, 3, seed=0), choices=(3,))
    with torch.no_grad():  # no choice is always the best
        scores = episode_of(policy).recorded_activity.outputs[0]
        policy.circuit.cell.output_offset -= scores.mean(dim=0)
    episode = episode_of(policy)
    browser = show(policy, episode)
    assert len(set(episode.actions[:, 0])) > 1
    assert browser.execute_script("return player.episodes[0].choice_names") == [["0", "1", "2"]]
    assert read(browser, READ["actions"], 1).tolist() == episode.actions.tolist()
    held = means_of(policy, episode, "command_0", "inter_0", "inter_1")
    wanted = actions_without(policy, episode, held)
    without = np.reshape(silence(browser, list(held)), wanted.shape)
    assert (without == wanted).all()
    share = 100 * float((wanted != episode.actions).mean())
    assert share > 0
    told = find(browser, ".silenced").text
    assert f"another choice is taken in {float(f'{share:.3g}'):g} % of the frames" in told


def test_other_commands_than_recorded_are_not_explained_away(show):
    """A recording whose commands the circuit did not give, e.g. of a disturbed robot."""
    policy = make_policy()
    episode = episode_of(policy)
    episode.actions[40] += 0.03
    browser = show(policy, episode)
    told = find(browser, ".silenced").text
    assert told.startswith("Neurons cannot be silenced here") and "by up to 0.03" in told
    assert not find(browser, ".mode").is_displayed()
    press(browser, "x")
    assert browser.execute_script("return player.episodes[0].silent.length") == 0


class Halved(Policy):
    """Commands half of what the circuit gives: the page does not know of it."""

    def __init__(self):
        super().__init__(Circuit(LTC(auto_ncp(3, 8, 1))))
        self.observation_size = 3

    def perceive(self, observation):
        return observation

    def respond(self, outputs):
        return outputs / 2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: VectorPolicy(CTGRU(3, 4, 1), observation_size=3), "a cell of type CTGRU"),
        (lambda: VectorPolicy(LSTM(3, 200, 1), observation_size=3), "a circuit of 163,200 weights"),
        (lambda: VectorPolicy(CfC(3, 4, 1, activation="gelu"), observation_size=3), "no gelu"),
        (lambda: make_policy(integrator="rk4"), "integrated by rk4"),
        (Halved, "commands in a way of its own"),
    ],
)
def test_the_page_says_why_a_circuit_cannot_be_run_on_it(show, make, reason):
    policy = make().eval()
    browser = show(policy, episode_of(policy))
    told = find(browser, ".silenced").text
    assert told.startswith("Neurons cannot be silenced on this page: ") and reason in told
    assert not find(browser, ".mode").is_displayed()
