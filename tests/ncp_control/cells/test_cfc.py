"""The CfC cells against ncps on equal parameters, and the wired one against its wiring."""

import numpy as np
import pytest
import torch

from ncp_control import NCP19, CfC, Circuit, WiredCfC, fully_connected, random_wiring

FRAME_S = 0.05
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
MODES = ["default", "pure", "no_gate"]
RANDOM = random_wiring(5, 8, 2, num_sensory_synapses=14, num_inner_synapses=20, seed=3)


def make_ncps_twin(cell):
    """Build an `ncps.torch.CfC` with this cell's parameters, and list the pairs of tensors."""
    ncps_torch = pytest.importorskip("ncps.torch")
    twin = ncps_torch.CfC(
        cell.input_size,
        cell.hidden_size,
        proj_size=cell.output_size,
        mode=cell.mode,
        activation=cell.activation,
        backbone_units=cell.backbone_units,
        backbone_layers=cell.backbone_layers,
    ).to(cell.output.weight.dtype)
    theirs = twin.rnn_cell
    heads = [theirs.ff1]
    if cell.mode == "pure":
        theirs.w_tau.data = cell.solution.leak_rate.data[None].clone()
        theirs.A.data = cell.solution.amplitude.data[None].clone()
    else:
        heads += [theirs.ff2, theirs.time_a, theirs.time_b]
    maps = [(layer,) for layer in (theirs.backbone or []) if isinstance(layer, torch.nn.Linear)]
    maps.append(tuple(heads))
    ours = [(torch.cat([cell.input_map.weight, cell.state_map.weight], 1), cell.input_map.bias)]
    ours += [(layer.weight, layer.bias) for layer in cell.deeper_maps]
    for (weight, bias), layers in zip(ours, maps, strict=True):
        for i, layer in enumerate(layers):
            layer.weight.data = weight.detach().chunk(len(layers))[i].clone()
            layer.bias.data = bias.detach().chunk(len(layers))[i].clone()
    twin.fc.load_state_dict(cell.output.state_dict())
    return twin, maps


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("layers", "activation"), [(0, "tanh"), (1, "lecun_tanh"), (2, "silu"), (1, "gelu")]
)
def test_agrees_with_ncps_in_outputs_and_gradients(dtype, mode, layers, activation):
    cell = CfC(
        5,
        7,
        3,
        mode=mode,
        backbone_units=11,
        backbone_layers=layers,
        activation=activation,
        frame_s=FRAME_S,
    ).to(dtype)
    twin, maps = make_ncps_twin(cell)
    ours_in = torch.randn(4, 6, 5, dtype=dtype, requires_grad=True)
    theirs_in = ours_in.detach().clone().requires_grad_()
    frames = torch.rand(6, dtype=dtype) * 3.0
    ours, ours_state = Circuit(cell)(ours_in, dt_s=(FRAME_S * frames).expand(4, 6))
    theirs, theirs_state = twin(theirs_in, timespans=frames.expand(1, 6))
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours_state, theirs_state, rtol=tolerance, atol=tolerance)

    target, loose = torch.randn_like(ours), 20 * tolerance
    (ours * target).sum().backward()
    (theirs * target).sum().backward()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad, rtol=loose, atol=loose)
    expected = torch.cat([layer.weight.grad for layer in maps[0]])
    gradient = torch.cat([cell.input_map.weight.grad, cell.state_map.weight.grad], dim=1)
    torch.testing.assert_close(gradient, expected, rtol=loose, atol=loose)
    if mode == "pure":
        rate = cell.solution.leak_rate.grad[None]
        torch.testing.assert_close(rate, twin.rnn_cell.w_tau.grad, rtol=loose, atol=loose)


def test_pure_mode_relaxes_with_the_time_constant_it_tells():
    cell = CfC(4, 6, 2, mode="pure", backbone_layers=0, frame_s=FRAME_S).double()
    cell.state_map.weight.data.zero_()  # so that v relaxes in a straight line
    inputs, state = torch.randn(3, 4).double(), torch.zeros(3, 6).double()
    tau_s, rest = cell.timescales(inputs, state), cell.solution.amplitude
    early, late = (
        cell(inputs, state, torch.full((3,), dt_s, dtype=torch.float64)) for dt_s in (0.02, 0.09)
    )
    torch.testing.assert_close((late - rest) / (early - rest), torch.exp(-0.07 / tau_s))


@pytest.mark.parametrize("mode", MODES)
def test_fully_wired_equals_dense(mode):
    wired = WiredCfC(fully_connected(5, 7, 7), mode=mode, frame_s=FRAME_S).double()
    dense = CfC(5, 7, 7, mode=mode, backbone_layers=0, frame_s=FRAME_S).double()
    matrix = wired._matrix().detach()
    with torch.no_grad():
        dense.input_map.weight.copy_(matrix[:, :5])
        dense.state_map.weight.copy_(matrix[:, 5:])
        dense.input_map.bias.copy_(wired.bias.flatten())
        if mode == "pure":
            dense.solution.load_state_dict(wired.solution.state_dict())
    inputs, dt_s = torch.randn(3, 8, 5).double(), torch.rand(3, 8).double() * 0.1
    _, ours = Circuit(wired)(inputs, dt_s=dt_s)
    _, expected = Circuit(dense)(inputs, dt_s=dt_s)
    torch.testing.assert_close(ours, expected)
    if mode == "pure":
        frame, state = torch.randn(4, 5).double(), torch.randn(4, 7).double()
        timescales_s = wired.timescales(frame, state)
        torch.testing.assert_close(timescales_s, dense.timescales(frame, state))
        other_s = wired.timescales(frame, torch.zeros(4, 7).double())
        assert (timescales_s - other_s).abs().min() > 0.0, "they depend on the state"


def reachable_in_a_frame(wiring):
    """Say which inputs and old states reach which new states, by the rule layer after layer."""
    num_sensory, num_nodes = wiring.num_sensory, wiring.num_nodes
    edges = {(s.source, s.target) for s in wiring.synapses}
    reaches = {node: {node} for node in range(num_nodes)}  # what a node's value depends on
    for nodes in list(wiring.layers.values())[1:]:
        fresh = {
            target: set().union(
                reaches[target] if target not in edges else set(),
                *(reaches[source] for source in range(num_nodes) if (source, target) in edges),
            )
            for target in nodes
        }
        reaches.update(fresh)
    pattern = np.zeros((wiring.num_neurons, num_nodes), dtype=bool)
    for neuron in range(wiring.num_neurons):
        pattern[neuron, list(reaches[num_sensory + neuron])] = True
    return torch.from_numpy(pattern)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wiring", [NCP19, RANDOM], ids=["ncp19", "random"])
def test_gradient_across_an_absent_synapse_is_exactly_zero(wiring, mode):
    cell = WiredCfC(wiring, mode=mode).double()
    inputs = torch.randn(1, wiring.num_sensory).double()
    state = torch.randn(1, wiring.num_neurons).double()
    dt_s = torch.tensor([0.04]).double()
    jacobians = torch.autograd.functional.jacobian(lambda u, v: cell(u, v, dt_s), (inputs, state))
    jacobian = torch.cat([part[0, :, 0] for part in jacobians], dim=1)
    assert torch.equal(jacobian != 0.0, reachable_in_a_frame(wiring))


def test_wired_parameters_are_counted_by_edge():
    cell = WiredCfC(NCP19)
    own = sum(s.source == s.target for s in NCP19.synapses)
    edges = NCP19.num_synapses + NCP19.num_neurons - own
    assert cell.weight.shape == (4, edges) and cell.bias.shape == (4, NCP19.num_neurons)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "closed"}, "`mode` must be one of .*'pure'.*, got 'closed'"),
        ({"activation": "sine"}, "`activation` must be one of .*, got 'sine'"),
        ({"backbone_layers": -1}, "`backbone_layers` must be a whole number of at least 0, got -1"),
        ({"backbone_units": 0}, "`backbone_units` must be a whole number of at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CfC(5, 7, 3, **settings)


@pytest.mark.parametrize("backbone_layers", [0, 1])
def test_spread_gates_open_one_after_the_other(backbone_layers):
    cell = CfC(1, 9, 1, backbone_layers=backbone_layers, mode="no_gate", frame_s=0.5)
    cell.spread_gates_(4.5, sharpness=30.0)
    with torch.no_grad():  # the second head alone speaks, and says one
        last = cell.deeper_maps[-1] if backbone_layers else cell.input_map
        last.weight.zero_(), cell.state_map.weight.zero_()
        last.bias[:9], last.bias[9:18] = 0.0, 20.0
    # After k frames and a half, k gates are open.
    times_s = 0.5 * (torch.arange(10.0) + 0.5)
    states = cell(torch.zeros(10, 1), torch.zeros(10, 9), times_s)
    assert torch.equal(states.round().sum(dim=1), torch.arange(10.0))


def test_gates_that_cannot_be_spread_are_refused():
    with pytest.raises(ValueError, match="`mode` must be 'default' or 'no_gate' to spread gates"):
        CfC(1, 4, 1, mode="pure").spread_gates_(1.0)
    with pytest.raises(ValueError, match="`longest_s` must be at least one frame of 0.5 s, got"):
        CfC(1, 4, 1, frame_s=0.5).spread_gates_(0.1)
