import copy
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ncp_control import (
    CTGRU,
    LSTM,
    LTC,
    NCP19,
    STC,
    CfC,
    Circuit,
    MixedMemory,
    WiredCfC,
    auto_ncp,
    fully_connected,
)
from ncp_control.audit import faults
from ncp_control.audit.ablation import ablate, ablation_effects
from ncp_control.audit.activity import (
    motor_contributions,
    principal_components,
    synapse_names,
    unit_activity,
    visible_part,
)
from ncp_control.audit.robustness import FRAME_FAULTS, fault_responses, largest_steps
from ncp_control.cells import Feedforward
from ncp_control.policy import load
from policies.driving import make_driving_policy


def test_principal_components_are_those_of_scikit_learn(recorded):
    _, _, activity = recorded
    states = activity.states[0].double().numpy()
    ours, theirs = principal_components(states), PCA().fit(states)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, atol=1e-12)
    np.testing.assert_allclose(
        np.abs(ours.scores[:, :5]), np.abs(theirs.transform(states)[:, :5]), atol=1e-9
    )
    assert ours.count_for(0.9) == PCA(n_components=0.9).fit(states).n_components_
    assert ours.count_for(1.0) <= 19


def test_components_refuse_what_they_cannot_analyse():
    with pytest.raises(ValueError, match="`states` must have at least 2 frames, got 1"):
        principal_components(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="must be finite, got nan in frame 1"):
        principal_components(np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match="must vary, got a constant activity"):
        principal_components(np.ones((5, 3)))


def test_motor_contributions_sum_to_where_the_motor_neuron_heads(recorded):
    """With the potential held at their sum the neuron's current is zero."""
    circuit, inputs, activity = recorded
    cell, states = circuit.cell, activity.states[0]
    with torch.no_grad():
        cell.output_scale.fill_(1.7)
        cell.output_offset.fill_(0.2)
    names, terms = motor_contributions(cell, inputs[0], states)
    assert {"leak → motor_0", "offset → motor_0"} < set(names)
    assert len(names) == (NCP19.targets == 50).sum() + 2
    heading = (terms.sum(axis=1) - 0.2) / 1.7
    held = states.clone()
    held[:, -1] = torch.from_numpy(heading)
    currents = cell.synaptic_currents(inputs[0], held)[:, cell.target == 18].sum(1)
    p = cell.effective_parameters()
    leak = p.leak_conductance[18] * (p.leak_potential[18] - held[:, 18])
    np.testing.assert_allclose((currents + leak).detach(), 0.0, atol=1e-5)
    with pytest.raises(ValueError, match="`cell` must be an LTC, got 'LSTM'"):
        motor_contributions(LSTM(32, 4, 1), inputs[0], states)


def test_contributions_of_two_motor_neurons_are_those_of_the_formula():
    """Any scales and reversal potentials, and sensors that reach the motor neurons directly."""
    torch.manual_seed(1)
    cell = LTC(fully_connected(3, 4, 2, seed=0)).double()
    with torch.no_grad():
        for value in (*cell.parameters(), cell.input_scale, cell.input_offset):
            value.add_(0.7 * torch.randn_like(value))
    inputs, states = torch.randn(5, 3).double(), torch.randn(5, 4).double()
    names, terms = motor_contributions(cell, inputs, states)
    p = cell.effective_parameters()
    nodes = torch.cat([inputs * cell.input_scale + cell.input_offset, states], dim=1)
    opened = p.weight * torch.sigmoid(p.slope * (nodes[:, cell.source] - p.threshold))
    for m, neuron in enumerate((2, 3)):
        own = cell.target == neuron
        total = p.leak_conductance[neuron] + opened[:, own].sum(1)
        drives = {
            f"{cell.wiring.node_names[int(cell.source[k])]} → motor_{m}": opened[:, k]
            * p.reversal_potential[k]
            for k in own.nonzero()[:, 0].tolist()
        } | {f"leak → motor_{m}": p.leak_conductance[neuron] * p.leak_potential[neuron]}
        for name, drive in drives.items():
            expected = (cell.output_scale[m] * drive / total).detach()
            np.testing.assert_allclose(terms[:, names.index(name)], expected, rtol=1e-12)
        offset = terms[:, names.index(f"offset → motor_{m}")]
        np.testing.assert_allclose(offset, cell.output_offset[m].item())
    assert len(names) == (cell.target >= 2).sum() + 4


def test_an_lstm_shows_its_hidden_units_only():
    circuit = Circuit(LSTM(3, 5, 1))
    names, states = unit_activity(circuit.cell, circuit.record(torch.randn(1, 7, 3)))
    assert names == [f"hidden_{i}" for i in range(5)]
    assert states.shape == (7, 5)


def test_a_held_neuron_stays_and_the_rest_obeys_the_equation(recorded, flat_policy):
    """Against the reference integrator with the neuron overwritten in every sub-step."""
    circuit, inputs, _ = recorded
    policy = flat_policy(circuit)
    held = ablate(policy, neurons={"command_1": 0.25})
    states = held.circuit.record(inputs).states[0]
    torch.testing.assert_close(states[:, 13], torch.full((120,), 0.25), rtol=0, atol=1e-5)
    cell, state = circuit.cell, torch.zeros(1, 19)
    capacitance = cell.effective_parameters().capacitance_s
    state[:, 13] = 0.25
    h = 1 / 30 / 6
    with torch.no_grad():
        for t in range(120):
            membrane = cell.membrane(inputs[:, t])
            for _ in range(6):
                conductance, drive = membrane.conductance_and_drive(state)
                state = (capacitance * state + h * drive) / (capacitance + h * conductance)
                state[:, 13] = 0.25
            if t > 2:  # the copy begins from zero and needs its first sub-step
                torch.testing.assert_close(states[t], state[0], rtol=1e-3, atol=1e-4)


def test_an_ablated_policy_keeps_its_contract_but_not_what_was_certified():
    policy, before = load("drive-ncp"), torch.random.get_rng_state()
    held = ablate(policy, neurons={"command_1": 0.25})
    assert torch.equal(torch.random.get_rng_state(), before)
    assert policy.contract.action[0].bounds is not None
    assert (held.contract.action[0].bounds, held.contract.provenance) == (None, {})
    assert held.contract.misfit(policy.contract) is None


def test_a_cut_synapse_carries_no_current_and_the_policy_is_unchanged(recorded, flat_policy):
    circuit, inputs, activity = recorded
    policy = flat_policy(circuit)
    name = synapse_names(circuit.cell)[200]
    cut = ablate(policy, synapses=[name]).circuit.record(inputs)
    assert cut.synaptic_currents[0, :, 200].abs().max() < 1e-12
    assert activity.synaptic_currents[0, :, 200].abs().max() > 1e-3
    torch.testing.assert_close(policy.circuit.record(inputs).states, activity.states)


@pytest.mark.parametrize("cell", [LSTM(6, 4, 2), Feedforward(6, 4, 2)])
def test_units_of_a_dense_cell_are_held(cell, flat_policy):
    policy, inputs = flat_policy(Circuit(cell)), torch.randn(2, 9, 6)
    name = cell.neuron_names[2]
    held = ablate(policy, neurons={name: 0.5})
    elsewhere = ablate(copy.deepcopy(policy).to("meta"), neurons={name: 0.5})
    assert all(buffer.is_meta for buffer in elsewhere.buffers()), "as on a GPU"
    actions, state = held(inputs)
    assert (state[:, 2] == 0.5).all()
    shown = held.circuit.record(inputs).states[..., :4]
    torch.testing.assert_close(actions, cell.output(shown))
    assert (actions - policy(inputs)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["default", "no_gate", "pure"])
def test_neurons_of_a_wired_closed_form_cell_are_held(mode, flat_policy):
    torch.manual_seed(0)
    policy, inputs = flat_policy(Circuit(WiredCfC(NCP19, mode=mode))), torch.randn(1, 9, 32)
    held = ablate(policy, neurons={"inter_3": 0.5, "command_1": -0.25})
    activity = held.circuit.record(inputs, dt_s=torch.rand(1, 9))
    names = activity.neuron_names
    for name, value in (("inter_3", 0.5), ("command_1", -0.25)):
        at = activity.states[..., names.index(name)]
        torch.testing.assert_close(at, torch.full_like(at, value))
    assert (held(inputs)[0] - policy(inputs)[0]).abs().max() > 1e-3


def test_effects_are_the_change_of_the_action(recorded, flat_policy):
    circuit, inputs, activity = recorded
    policy, dt_s = flat_policy(circuit), activity.dt_s[0]
    synapses = synapse_names(circuit.cell)[-1:]
    effects = ablation_effects(policy, inputs[0], dt_s, neurons={"inter_3": 0.1}, synapses=synapses)
    assert effects[0].name == "inter_3" and len(effects) == 2
    change = (
        ablate(policy, neurons={"inter_3": 0.1}).circuit.record(inputs).outputs - activity.outputs
    )
    assert effects[0].rms == pytest.approx(float(change.pow(2).mean().sqrt()), rel=1e-3)
    assert effects[0].largest == pytest.approx(float(change.abs().max()), rel=1e-3)


def test_effects_are_those_of_the_action_as_it_is_done(recorded, flat_policy):
    """Outputs far beyond 1 are clipped before they are compared."""
    circuit, inputs, activity = recorded
    with torch.no_grad():
        circuit.cell.output_scale.fill_(100.0)
    policy = flat_policy(circuit)
    (effect,) = ablation_effects(policy, inputs[0], activity.dt_s[0], neurons={"motor_0": 0.3})
    outputs = circuit.record(inputs).outputs.detach()
    held = (100.0 * 0.3 + circuit.cell.output_offset.detach()).clamp(-1.0, 1.0)
    change = (held - outputs.clamp(-1.0, 1.0)).abs()
    assert effect.largest == pytest.approx(float(change.max()), rel=1e-4)
    assert effect.rms == pytest.approx(float(change.pow(2).mean().sqrt()), rel=1e-4)
    assert outputs.abs().max() > 2.0


def test_several_units_are_held_at_once(flat_policy):
    policy = flat_policy(Circuit(LSTM(6, 4, 2)))
    _, state = ablate(policy, neurons={"hidden_1": 0.5, "hidden_3": -0.25})(torch.randn(2, 9, 6))
    assert (state[:, 1] == 0.5).all() and (state[:, 3] == -0.25).all()
    assert (state[:, 0] != 0.5).all()


def test_what_cannot_be_ablated_is_named(recorded, flat_policy):
    policy = flat_policy(recorded[0])
    with pytest.raises(ValueError, match=r"`neurons` must be one of .*'motor_0'"):
        ablate(policy, neurons={"motor0": 0.0})
    with pytest.raises(ValueError, match=r"`policy` must have an LTC .*got 'STC'"):
        ablate(flat_policy(Circuit(STC(NCP19))), neurons={"motor_0": 0.0})
    with pytest.raises(ValueError, match="`synapses` must be left out"):
        ablate(flat_policy(Circuit(LSTM(3, 2, 1))), synapses=["a → b"])


def test_largest_steps_are_found():
    states = np.array([[0.0, 1.0], [0.5, 1.1], [-0.5, 1.0]])
    np.testing.assert_allclose(largest_steps(states), [1.0, 0.1])
    with pytest.raises(ValueError, match="`states` must have at least 2 frames, got 1"):
        largest_steps(states[:1])


def test_faults_change_the_action_as_far_as_the_policy_sees_them():
    policy = make_driving_policy("ncp", head="light")
    frames = np.random.default_rng(0).integers(0, 255, (6, 78, 200, 3), dtype=np.uint8)
    dt_s = np.full(6, 1 / 30)
    which = {
        "none": lambda frames, rng: frames,
        "darker": lambda frames, rng: frames // 2 * 2,
        "hidden": lambda frames, rng: np.zeros_like(frames),
    }
    none, darker, hidden = fault_responses(policy, frames, dt_s, which=which)
    assert none.action_rms == none.state_rms == 0.0
    assert 0.0 < darker.state_rms < hidden.state_rms
    assert hidden.action_largest >= hidden.action_rms > 0.0
    with pytest.raises(ValueError, match=r"`frames` must be uint8 images .* \(6, 17\)"):
        fault_responses(policy, np.zeros((6, 17)), dt_s)
    with pytest.raises(ValueError, match="`frames` must have at least 2 frames, got 1"):
        fault_responses(policy, frames[:1], dt_s[:1])


def test_the_named_faults_are_what_their_names_say():
    frames = np.random.default_rng(1).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    expected = {
        f"pixel noise, variance {v}": partial(faults.add_pixel_noise, frames, v)
        for v in (0.1, 0.2, 0.3)
    }
    expected |= {
        f"brightness × {factor}": lambda rng, factor=factor: faults.change_brightness(
            frames, factor
        )
        for factor in (0.5, 1.5)
    }
    expected |= {
        f"{share}% of the frame hidden": partial(faults.occlude, frames, share / 100)
        for share in (5, 20)
    }
    assert list(FRAME_FAULTS) == list(expected)
    for name, spoil in expected.items():
        ours = FRAME_FAULTS[name](frames, rng=np.random.default_rng(2))
        np.testing.assert_array_equal(ours, spoil(rng=np.random.default_rng(2)))


def test_fault_responses_are_root_mean_squares_of_what_changes():
    """Against the policy run by hand on 65 frames; what hides moves after the 64th."""
    torch.manual_seed(0)
    policy = make_driving_policy("ncp", head="light")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (65, 78, 200, 3), dtype=np.uint8)
    dt_s = np.full(65, 0.05)
    (found,) = fault_responses(
        policy, frames, dt_s, which={"hidden": FRAME_FAULTS["20% of the frame hidden"]}
    )
    hide = np.random.default_rng(0)
    spoilt = np.concatenate([faults.occlude(frames[:64], 0.2, hide),
                             faults.occlude(frames[64:], 0.2, hide)])  # fmt: skip

    @torch.no_grad()
    def run(frames):
        features = policy.perceive(torch.from_numpy(frames))
        activity = policy.circuit.record(features[None], dt_s=torch.full((1, 65), 0.05))
        return activity.outputs[0].clamp(-1, 1).double(), activity.states[0].double().numpy()

    (clean_actions, clean), (actions, states) = run(frames), run(spoilt)
    change = (actions - clean_actions).numpy()
    assert found.action_rms == pytest.approx(np.sqrt(np.mean(change**2)), rel=1e-5)
    assert found.action_largest == pytest.approx(np.abs(change).max(), rel=1e-5)
    varies = clean.std(0) > 1e-3 * clean.std(0).max()
    moved = ((states - clean) / clean.std(0))[:, varies]
    assert found.state_rms == pytest.approx(np.sqrt(np.mean(moved**2)), rel=1e-5)


def test_frames_that_are_no_images_are_refused(flat_policy):
    policy = flat_policy(Circuit(LSTM(3, 2, 1)))
    for frames in (np.zeros((3, 4, 5, 3), np.float32), np.zeros((3, 4), np.uint8)):
        with pytest.raises(ValueError, match="`frames` must be uint8 images"):
            fault_responses(policy, frames, np.full(3, 0.1))


def test_actions_are_compared_as_they_are_done_and_still_units_have_no_share(conv_policy):
    """Equal frames: no unit varies. The fault drives the output from below -1 to above 1."""
    policy = conv_policy(Feedforward(3, 4, 1), torch.nn.Conv2d(3, 3, 3, bias=False))
    with torch.no_grad():
        policy.layers.weight.fill_(1e-4)
        for layer in policy.circuit.cell.hidden:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.abs_(), layer.bias.zero_()
        output = policy.circuit.cell.output
        output.weight.fill_(100.0), output.bias.fill_(-3.0)
    (found,) = fault_responses(
        policy,
        np.zeros((2, 24, 48, 3), np.uint8),
        np.full(2, 0.1, np.float32),
        which={"light": lambda frames, rng: np.full_like(frames, 255)},
    )
    assert found.action_rms == found.action_largest == 2.0
    assert np.isnan(found.state_rms)


def test_two_frames_are_enough_to_vary():
    found = principal_components(np.array([[0.0, 1.0], [2.0, 1.0]]))
    np.testing.assert_allclose(found.explained, [1.0, 0.0])


def test_a_unit_that_is_still_does_not_count_among_the_moved(conv_policy):
    """A unit wakes up under the fault alone: as a share of its deviation, 0, it drowned all."""
    convolution = torch.nn.Conv2d(3, 3, 3, bias=False)
    policy = conv_policy(Feedforward(3, 4, 1), convolution)
    first, second = policy.circuit.cell.hidden[0], policy.circuit.cell.hidden[2]
    with torch.no_grad():
        convolution.weight.fill_(1e-6)  # more light, larger features; none in the dark
        first.weight.abs_(), first.bias.zero_()
        second.weight.abs_(), second.bias.zero_()
        second.weight[1], second.bias[1] = -100.0, 1.0
    frames = np.random.default_rng(0).integers(100, 256, (6, 24, 48, 3)).astype(np.uint8)
    (found,) = fault_responses(
        policy,
        frames,
        np.full(6, 0.1, np.float32),
        which={"hidden": lambda frames, rng: np.zeros_like(frames)},
    )
    names, states = unit_activity(
        policy.circuit.cell,
        policy.circuit.record(policy.perceive(torch.from_numpy(frames))[None]),
    )
    alive = np.delete(states, names.index("unit_1"), axis=1)
    assert not states[:, 1].any() and (alive.std(axis=0) > 0.0).all()
    expected = np.sqrt(np.mean((alive / alive.std(axis=0)) ** 2))  # in the dark they are 0
    assert found.state_rms == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("cell", "visible"),
    [
        (LSTM(3, 4, 1), 4),
        (CTGRU(3, 4, 1, num_scales=5), 20),
        (MixedMemory(LTC(auto_ncp(3, 8, 1))), 8),
        (MixedMemory(CfC(3, 4, 1)), 4),
    ],
)
def test_what_others_see_is_shown_without_the_memory(cell, visible):
    activity = visible_part(cell, Circuit(cell).record(torch.randn(1, 6, 3)))
    assert activity.states.shape == (1, 6, visible) and len(activity.neuron_names) == visible
    assert activity.timescales_s is None or torch.isfinite(activity.timescales_s).all()
    # The readout knows nothing else.
    state = torch.zeros(6, cell.state_size)
    state[:, :visible] = activity.states[0]
    torch.testing.assert_close(cell.readout(state), activity.outputs[0])
