"""The LTC cell against ncps on equal parameters, and against its own definition."""

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Circuit, fully_connected

FRAME_S = 1 / 30
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def make_ncps_twin(cell):
    """Build an `ncps.torch.LTCCell` with this cell's effective parameters.

    Their state runs motor, command, inter; theirs is (n, n) masks where ours is a list. Their time
    unit is the frame; ε is an addition to the denominator that we do not need.
    """
    ncps_torch = pytest.importorskip("ncps.torch")
    from ncps.wirings import Wiring as TheirWiring

    wiring = cell.wiring
    order = list(range(wiring.num_neurons))[::-1]
    place = {ours: theirs for theirs, ours in enumerate(order)}

    class Twin(TheirWiring):
        def __init__(self):
            super().__init__(wiring.num_neurons)
            self.set_output_dim(wiring.num_motor)
            self.build(wiring.num_sensory)
            for source, target, sign in wiring.synapses:
                neuron = place[target - wiring.num_sensory]
                if source < wiring.num_sensory:
                    self.add_sensory_synapse(source, neuron, sign)
                else:
                    self.add_synapse(place[source - wiring.num_sensory], neuron, sign)

    twin = ncps_torch.LTCCell(Twin(), wiring.num_sensory, epsilon=0.0).to(cell.sign.dtype)
    p, first_inner = cell.effective_parameters(), wiring.num_sensory_synapses
    with torch.no_grad():
        for ours in range(wiring.num_neurons):
            theirs = place[ours]
            twin._params["cm"][theirs] = p.capacitance_s[ours] / cell.frame_s
            twin._params["gleak"][theirs] = p.leak_conductance[ours]
            twin._params["vleak"][theirs] = p.leak_potential[ours]
        named = {
            "w": p.weight,
            "mu": p.threshold,
            "sigma": p.slope,
            "erev": p.reversal_potential,
        }
        for i, (source, target, _) in enumerate(wiring.synapses):
            neuron = place[target - wiring.num_sensory]
            is_sensory = i < first_inner
            row = source if is_sensory else place[source - wiring.num_sensory]
            for name, values in named.items():
                key = f"sensory_{name}" if is_sensory else name
                twin._params[key][row, neuron] = values[i]
    return twin, torch.tensor(order)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("wiring", [NCP19, fully_connected(5, 7, 2)], ids=["ncp19", "full"])
def test_agrees_with_ncps_in_outputs_and_gradients(dtype, wiring):
    cell = LTC(wiring, frame_s=FRAME_S).to(dtype)
    twin, order = make_ncps_twin(cell)
    ours_in = torch.randn(8, wiring.num_sensory, dtype=dtype, requires_grad=True)
    theirs_in = ours_in.detach().clone().requires_grad_()
    ours = theirs = torch.rand(8, wiring.num_neurons, dtype=dtype) - 0.5
    theirs = theirs[:, order]
    for _ in range(5):
        ours = cell(ours_in, ours, torch.full((8,), FRAME_S, dtype=dtype))
        _, theirs = twin(theirs_in, theirs)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours[:, order], theirs, rtol=tolerance, atol=tolerance)

    target = torch.randn(8, wiring.num_neurons, dtype=dtype)
    (ours[:, order] * target).sum().backward()
    (theirs * target).sum().backward()
    loose = 50 * tolerance  # a gradient adds up hundreds of such roundings
    torch.testing.assert_close(ours_in.grad, theirs_in.grad, rtol=loose, atol=loose)
    # Ours are free parameters, theirs effective values: the chain rule's factor lies between.
    synapse_factors = {
        "raw_weight": ("w", torch.sigmoid(cell.raw_weight)),
        "threshold": ("mu", torch.ones_like(cell.threshold)),
        "slope": ("sigma", torch.ones_like(cell.slope)),
        "raw_reversal": ("erev", cell.sign * torch.sigmoid(cell.raw_reversal)),
    }
    for ours_name, (theirs_name, factor) in synapse_factors.items():
        gradient = getattr(cell, ours_name).grad
        for i, (source, target_node, _) in enumerate(cell.wiring.synapses):
            neuron = len(order) - 1 - (target_node - wiring.num_sensory)
            is_sensory = i < wiring.num_sensory_synapses
            row = source if is_sensory else len(order) - 1 - (source - wiring.num_sensory)
            key = f"sensory_{theirs_name}" if is_sensory else theirs_name
            expected = twin._params[key].grad[row, neuron] * factor[i]
            torch.testing.assert_close(gradient[i], expected, rtol=loose, atol=loose)
    neuron_factors = {
        "raw_capacitance": ("cm", torch.sigmoid(cell.raw_capacitance)),
        "raw_leak_conductance": ("gleak", torch.sigmoid(cell.raw_leak_conductance)),
        "leak_potential": ("vleak", torch.ones_like(cell.leak_potential)),
    }
    for ours_name, (theirs_name, factor) in neuron_factors.items():
        expected = twin._params[theirs_name].grad[order] * factor
        gradient = getattr(cell, ours_name).grad
        torch.testing.assert_close(gradient, expected, rtol=loose, atol=loose)


def test_parameter_count_is_the_papers():
    names = ("input_scale", "input_offset", "output_scale", "output_offset")
    cell = LTC(NCP19)
    total = sum(p.numel() for p in cell.parameters())
    affine = sum(getattr(cell, name).numel() for name in names)
    assert total - affine == 4 * 252 + 3 * 19 == 1065
    assert affine == 2 * 32 + 2 * 1


def test_initial_values_lie_in_the_published_ranges():
    p = LTC(NCP19, frame_s=FRAME_S).effective_parameters()
    for values, low, high in (
        (p.capacitance_s, 0.4 * FRAME_S, 0.6 * FRAME_S),
        (p.leak_conductance, 0.001, 1.0),
        (p.leak_potential, -0.2, 0.2),
        (p.weight, 0.01, 1.0),
        (p.threshold, 0.3, 0.8),
        (p.slope, 3.0, 8.0),
    ):
        assert values.min() >= low * (1 - 1e-5) - 1e-6 and values.max() <= high * (1 + 1e-5)
        assert values.max() - values.min() > 0.5 * (high - low)
    signs = torch.tensor(NCP19.signs).float()
    torch.testing.assert_close(p.reversal_potential, signs)


def test_gradient_across_an_absent_synapse_is_exactly_zero():
    cell = LTC(NCP19)
    state = torch.rand(1, 19, requires_grad=True)
    inputs = torch.rand(1, 32, requires_grad=True)
    # One unfold: what reaches a neuron must have come across a single synapse.
    cell.unfolds = 1
    end = cell(inputs, state, torch.tensor([FRAME_S]))
    connected = {(s.source, s.target) for s in NCP19.synapses}
    for target in range(19):
        by_input, by_state = torch.autograd.grad(end[0, target], (inputs, state), retain_graph=True)
        gradient = torch.cat([by_input, by_state], dim=1)[0]
        for source in range(51):
            node = 32 + target
            if source != node and (source, node) not in connected:
                assert gradient[source] == 0.0
            elif source != node:
                assert gradient[source] != 0.0


def test_sign_cannot_flip():
    cell = LTC(NCP19)
    with torch.no_grad():
        cell.raw_reversal.sub_(50.0)
        reversal = cell.effective_parameters().reversal_potential
    assert (reversal * cell.sign >= 0).all()


def test_time_constant_follows_its_definition():
    circuit = Circuit(LTC(NCP19).double())
    inputs = torch.randn(2, 6, 32, dtype=torch.float64)
    activity = circuit.record(inputs)
    p = circuit.cell.effective_parameters()
    presynaptic = torch.cat([inputs, activity.states], dim=2)
    for neuron in (0, 13, 18):
        conductance = p.leak_conductance[neuron]
        for i, synapse in enumerate(NCP19.synapses):
            if synapse.target == 32 + neuron:
                x = presynaptic[..., synapse.source]
                gate = 1 / (1 + torch.exp(-p.slope[i] * (x - p.threshold[i])))
                conductance = conductance + p.weight[i] * gate
        torch.testing.assert_close(
            activity.timescales_s[..., neuron], p.capacitance_s[neuron] / conductance
        )


def test_currents_explain_the_motion():
    """C dv/dt = g (V − v) + Σ I, checked by a step so short that it is the derivative."""
    cell = LTC(NCP19, integrator="rk4", unfolds=1).double()
    inputs, state = torch.randn(3, 32).double(), torch.rand(3, 19).double()
    p, step_s = cell.effective_parameters(), 1e-7
    after = cell(inputs, state, torch.full((3,), step_s, dtype=torch.float64))
    currents = cell.synaptic_currents(inputs, state)
    total = torch.zeros(3, 19).double().index_add(1, cell.target, currents)
    rate = (p.leak_conductance * (p.leak_potential - state) + total) / p.capacitance_s
    torch.testing.assert_close((after - state) / step_s, rate, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reads", ["command", "all"])
def test_outputs_read_further_neurons_linearly_and_not_before_they_have_learned_to(reads):
    torch.manual_seed(0)
    plain = LTC(NCP19, integrator="layered_midpoint", unfolds=2)
    cell = LTC(NCP19, integrator="layered_midpoint", unfolds=2, reads=reads)
    cell.load_state_dict(plain.state_dict(), strict=False)
    inputs = torch.randn(4, 10, 32)
    assert torch.equal(Circuit(cell)(inputs)[0], Circuit(plain)(inputs)[0])
    with torch.no_grad():
        cell.read_weight.uniform_(-1.0, 1.0)
    first = {"command": 12, "all": 0}[reads]
    activity = Circuit(cell).record(inputs)
    by_hand = Circuit(plain)(inputs)[0] + activity.states[:, :, first:18] @ cell.read_weight.T
    torch.testing.assert_close(activity.outputs, by_hand.detach())
    torch.testing.assert_close(Circuit(cell)(inputs)[0].detach(), activity.outputs)
    step = cell.control_step()
    alone = np.stack([step(frame, cell.frame_s) for frame in inputs[0].numpy()])
    np.testing.assert_allclose(alone, activity.outputs[0], atol=2e-6)
    with torch.no_grad():
        cell.read_weight.zero_()
    step.reset()
    unread = Circuit(plain)(inputs[:1, :1])[0].item()
    assert step(inputs[0, 0].numpy(), cell.frame_s) == pytest.approx(unread, abs=1e-6)


def test_reading_is_a_setting_that_old_files_lack():
    assert "reads" not in LTC(NCP19).settings() and LTC(NCP19).read_weight is None
    assert LTC(**LTC(NCP19, reads="all").settings()).read_weight.shape == (1, 18)
    with pytest.raises(ValueError, match="`reads` must be 'motor' for a wiring without such other"):
        LTC(fully_connected(3, 2, 2), reads="all")
    with pytest.raises(ValueError, match="`reads` must be"):
        LTC(NCP19, reads="inter")
