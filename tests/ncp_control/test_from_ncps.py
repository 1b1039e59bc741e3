"""Models carried over from ncps give the outputs they gave there."""

import copy
import sys

import numpy as np
import pytest
import torch

from ncp_control import LTC, CfC, MixedMemory, WiredCfC, from_ncps

ncps_torch = pytest.importorskip("ncps.torch")
from ncps import wirings  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}

MASKS = np.random.default_rng(0)


def trained(module, input_size):
    """Take a few steps, and flip some polarities as a longer training does."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(4):
        outputs, _ = module(torch.randn(4, 6, input_size))
        optimizer.zero_grad()
        (outputs - torch.randn_like(outputs)).pow(2).mean().backward()
        optimizer.step()
    if isinstance(module, ncps_torch.LTC):
        module.rnn_cell.apply_weight_constraints()
        for name in ("erev", "sensory_erev"):
            reversal = module.rnn_cell._params[name].data
            reversal[torch.rand_like(reversal) < 0.3] *= -1.0
            reversal[torch.rand_like(reversal) < 0.1] = 0.0
    return module.eval()


def to_dtype(module, dtype):
    """Their LTC reads its parameters from a plain dict, which `.to` passes by."""
    module = module.to(dtype)
    for cell in module.modules():
        if isinstance(cell, ncps_torch.LTCCell):
            cell._params = dict(cell.named_parameters())
    return module


def agree(module, circuit, input_size, dtype, frame_s):
    inputs, frames = torch.randn(4, 7, input_size, dtype=dtype), torch.rand(7, dtype=dtype) + 0.2
    hidden = torch.zeros(4, module.state_size, dtype=dtype)
    start = (hidden, hidden) if module.use_mixed else hidden
    # One row of time spans: with one a sample theirs crashes or mixes samples and units.
    expected, _ = module(inputs, start, timespans=frames[None])
    outputs, _ = circuit(inputs, dt_s=(frame_s * frames).expand(4, 7))
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(outputs, expected, rtol=tolerance, atol=tolerance)


WIRINGS = {
    "dense": lambda: 9,
    "ncp": lambda: wirings.NCP(8, 5, 2, 4, 3, 4, 3),
    "auto": lambda: wirings.AutoNCP(16, 3),
    "random": lambda: wirings.Random(10, 2, sparsity_level=0.4),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("is_implicit", [True, False])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_ltc_gives_equal_outputs(dtype, wiring, is_implicit):
    module = ncps_torch.LTC(6, WIRINGS[wiring](), implicit_param_constraints=is_implicit)
    module = to_dtype(trained(module, 6), dtype)
    circuit = from_ncps(module, frame_s=0.05)
    assert isinstance(circuit.cell, LTC)
    agree(module, circuit, 6, dtype, 0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"input_mapping": None, "ode_unfolds": 3},
        {"input_mapping": "linear", "output_mapping": None, "ode_unfolds": 1},
        {"output_mapping": "linear", "epsilon": 0.0},
        {"epsilon": 0.3},
        {"epsilon": 0.3, "implicit_param_constraints": False},
        {"mixed_memory": True, "ode_unfolds": 2},
    ],
    ids=str,
)
def test_ltc_with_other_options(options):
    module = to_dtype(trained(ncps_torch.LTC(6, WIRINGS["ncp"](), **options), 6), torch.float64)
    circuit = from_ncps(module)
    cell = circuit.cell.cell if options.get("mixed_memory") else circuit.cell
    assert cell.unfolds == options.get("ode_unfolds", 6)
    agree(module, circuit, 6, torch.float64, 1.0)


def test_a_conductance_of_zero_is_carried_over():
    module = ncps_torch.LTC(6, 9, epsilon=0.0, implicit_param_constraints=False)
    for name in ("w", "sensory_w", "gleak"):
        module.rnn_cell._params[name].data[::2] = 0.0
    module = to_dtype(module, torch.float64)
    agree(module, from_ncps(module), 6, torch.float64, 1.0)


def test_a_wiring_without_synapses_leaves_the_leak():
    wiring = wirings.Wiring(5)
    wiring.set_output_dim(2)
    module = to_dtype(ncps_torch.LTC(3, wiring), torch.float64)
    circuit = from_ncps(module)
    assert circuit.cell.wiring.num_synapses == 0
    agree(module, circuit, 3, torch.float64, 1.0)


def test_a_wiring_whose_numbers_are_no_signs():
    wiring = wirings.AutoNCP(16, 3)
    wiring.adjacency_matrix[4, 3] = 3  # ncps takes its size as a factor of the conductance, too
    module = to_dtype(ncps_torch.LTC(6, wiring), torch.float64)
    agree(module, from_ncps(module), 6, torch.float64, 1.0)


def test_outputs_are_the_first_neurons_whatever_their_kind():
    wiring = wirings.NCP(8, 5, 3, 4, 3, 4, 3)
    wiring.set_output_dim(1)
    module = to_dtype(trained(ncps_torch.LTC(6, wiring), 6), torch.float64)
    circuit = from_ncps(module)
    sizes = circuit.cell.wiring.num_inter, circuit.cell.wiring.num_command
    assert sizes == (10, 5) and circuit.cell.output_size == 1
    agree(module, circuit, 6, torch.float64, 1.0)


def test_signs_are_the_trained_ones():
    module = trained(ncps_torch.LTC(6, wirings.NCP(8, 5, 2, 4, 3, 4, 3)), 6)
    trained_signs = module.rnn_cell._params["erev"].detach().sign()
    assert (trained_signs * torch.tensor(module._wiring.adjacency_matrix) < 0).any()
    # Theirs run motor, command, inter; ours the other way round, each layer in the same order.
    place = [*range(7, 15), *range(2, 7), *range(2)]
    for source, target, sign in from_ncps(module).cell.wiring.synapses:
        if source >= 6:
            assert sign == (trained_signs[place[source - 6], place[target - 6]] or 1)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", ["default", "pure", "no_gate"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"proj_size": 3, "backbone_units": 5},
        {"backbone_layers": 0},
        {"backbone_layers": 2, "activation": "silu", "backbone_dropout": 0.5},
        {"backbone_layers": 3, "activation": "relu"},
        {"activation": "tanh"},
        {"activation": "gelu", "mixed_memory": True, "proj_size": 2},
    ],
    ids=str,
)
def test_cfc_gives_equal_outputs(dtype, mode, settings):
    module = trained(ncps_torch.CfC(6, 9, mode=mode, **settings), 6).to(dtype)
    circuit = from_ncps(module, frame_s=0.05)
    assert isinstance(circuit.cell, MixedMemory if module.use_mixed else CfC)
    agree(module, circuit, 6, dtype, 0.05)


class TwoLayers(wirings.Random):
    """A wiring of ncps' users: sensory → 5 hidden → 3 motor neurons, which are numbered first."""

    num_layers = 2

    def __init__(self):
        super().__init__(8, 3, sparsity_level=0.5)

    def get_neurons_of_layer(self, layer_id):
        return [range(3, 8), range(3)][layer_id]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", ["default", "pure", "no_gate"])
@pytest.mark.parametrize("wiring", ["ncp", "auto", "random", "two layers"])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_cfc_over_a_wiring_gives_equal_outputs(dtype, mode, wiring, is_mixed):
    wiring = TwoLayers() if wiring == "two layers" else WIRINGS[wiring]()
    module = ncps_torch.CfC(6, wiring, mode=mode, mixed_memory=is_mixed)
    module = trained(module, 6).to(dtype)
    circuit = from_ncps(module, frame_s=0.05)
    cell = circuit.cell.cell if is_mixed else circuit.cell
    assert isinstance(cell, WiredCfC)
    agree(module, circuit, 6, dtype, 0.05)


def test_the_wiring_of_a_cfc_has_the_synapses_that_ncps_computes():
    wiring = wirings.NCP(8, 5, 2, 4, 3, 4, 3)
    gated, pure = (
        from_ncps(ncps_torch.CfC(6, wiring, mode=mode)).cell.wiring for mode in ("default", "pure")
    )
    assert gated.count_by_kind() == {
        "sensory → inter": 6 * 8,
        "inter → inter": 8 * 8,
        "inter → command": 8 * 5,
        "command → command": 5 * 5,
        "command → motor": 5 * 2,
        "motor → motor": 2 * 2,
    }
    to_inter = np.count_nonzero(wiring.sensory_adjacency_matrix)
    assert pure.count_by_kind()["sensory → inter"] == to_inter < 6 * 8


@pytest.mark.parametrize(
    "make",
    [
        lambda: ncps_torch.LTCCell(WIRINGS["ncp"](), 6),
        lambda: ncps_torch.CfCCell(6, 9, backbone_activation="gelu", backbone_layers=2),
        lambda: ncps_torch.CfCCell(
            6, 9, "no_gate", backbone_layers=0, sparsity_mask=MASKS.random((15, 9)) < 0.5
        ),
        lambda: ncps_torch.CfCCell(6, 9, "pure", sparsity_mask=MASKS.random((128, 9)) < 0.5),
        lambda: ncps_torch.WiredCfCCell(6, WIRINGS["ncp"]()),
    ],
    ids=["ltc", "cfc", "masked", "masked pure", "wired"],
)
def test_cells_give_equal_outputs(make):
    cell = to_dtype(make(), torch.float64)
    circuit = from_ncps(cell)
    size = circuit.cell.state_size
    inputs = torch.randn(4, 7, 6, dtype=torch.float64)
    frames = torch.rand(7, dtype=torch.float64) + 0.2
    hidden, expected = torch.zeros(4, size, dtype=torch.float64), []
    for t in range(7):
        output, hidden = cell(inputs[:, t], hidden, frames[t])
        expected.append(output)
    outputs, _ = circuit(inputs, dt_s=frames.expand(4, 7))
    torch.testing.assert_close(outputs, torch.stack(expected, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["default", "pure", "no_gate"])
def test_rounding_over_many_frames_is_no_worse_than_theirs(mode):
    module = trained(ncps_torch.CfC(6, 32, mode=mode), 6)
    exact = copy.deepcopy(module).double()
    inputs, frames, start = torch.randn(8, 32, 6), torch.rand(32) + 0.2, torch.zeros(8, 32)
    theirs, _ = module(inputs, start, timespans=frames[None])
    ours, _ = from_ncps(module)(inputs, dt_s=frames.expand(8, 32))
    wanted, _ = exact(inputs.double(), start.double(), timespans=frames.double()[None])
    ours_64, _ = from_ncps(exact)(inputs.double(), dt_s=frames.double().expand(8, 32))
    error, their_error = ((o.double() - wanted).square().mean().sqrt() for o in (ours, theirs))
    assert error < 10.0 * their_error
    torch.testing.assert_close(ours_64, wanted, rtol=1e-8, atol=1e-8)


def test_the_module_is_left_as_it_was():
    module = trained(ncps_torch.LTC(6, wirings.AutoNCP(16, 3)), 6)
    before = copy.deepcopy(module.state_dict())
    from_ncps(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def many_layers():
    wiring = wirings.NCP(8, 5, 2, 4, 3, 4, 3)
    wiring.__class__ = type("Deep", (wirings.NCP,), {"num_layers": 4})
    wiring.get_neurons_of_layer = lambda layer: range(4 * layer, min(4 * layer + 4, 15))
    return wiring


def without_outputs():
    wiring = wirings.Wiring(5)
    wiring.set_output_dim(8)
    return wiring


def with_value(module, name, value):
    dict(module.named_parameters())[name].data.flatten()[2] = value
    return module


def explicit():
    return ncps_torch.LTC(6, 9, implicit_param_constraints=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ncps_torch.CfC(6, WIRINGS["ncp"](), proj_size=3),
            "`proj_size` of a module with a wiring must be None, got 3",
        ),
        (
            lambda: ncps_torch.CfC(6, many_layers()),
            "`num_layers` of the module's wiring must be from 1 to 3, got 4",
        ),
        (
            lambda: ncps_torch.LTC(6, without_outputs(), output_mapping=None),
            "`output_dim` of the module's wiring must be at most its 5 units, got 8",
        ),
        (
            lambda: ncps_torch.LTC(6, 9, ode_unfolds=0),
            "`unfolds` must be a whole number of at least 1, got 0",
        ),
        (
            lambda: with_value(explicit(), "rnn_cell.cm", -0.5),
            "`cm` must not be negative, got -0.5 in the module",
        ),
        (
            lambda: with_value(explicit(), "rnn_cell.sensory_w", -0.25),
            "`w` must not be negative, got -0.25 in the module",
        ),
        (
            lambda: ncps_torch.LTC(6, 9, epsilon=-2.0),
            "`gleak . epsilon` must not be negative, got -1.",
        ),
        (
            lambda: with_value(ncps_torch.CfC(6, 9), "rnn_cell.ff2.weight", torch.nan),
            "`rnn_cell.ff2.weight` of the module must be finite, got NaN or infinity",
        ),
    ],
)
def test_what_cannot_be_carried_over_is_refused_with_the_reason(make, message):
    with pytest.raises(ValueError, match=message):
        from_ncps(make())


def test_a_readout_that_is_no_linear_map_is_refused():
    module = ncps_torch.CfC(6, 9, proj_size=2)
    module.fc = torch.nn.Sequential(module.fc, torch.nn.Tanh())
    with pytest.raises(ValueError, match="`proj_size` of the module must stand for a linear map"):
        from_ncps(module)


def test_what_is_no_module_of_theirs_is_refused():
    with pytest.raises(TypeError, match="must be an ncps.torch.LTC or CfC, .* got 'Linear'"):
        from_ncps(torch.nn.Linear(3, 3))
    replaced = ncps_torch.LTC(6, 9)
    replaced.load_state_dict(ncps_torch.LTC(6, 9).state_dict(), assign=True)
    with pytest.raises(ValueError, match="`module` must compute with its own parameters, got "):
        from_ncps(replaced)


@pytest.mark.parametrize("options", [
    {"batch_first": False},
    {"return_sequences": False},
    {"batch_first": False, "return_sequences": False},
])  # fmt: skip
@pytest.mark.parametrize("kind", [ncps_torch.LTC, ncps_torch.CfC])
def test_another_layout_gives_the_outputs_of_theirs_to_the_same_call(kind, options):
    module = trained(kind(6, 9, **options), 6)
    inputs = torch.randn(5, 4, 6)
    expected, _ = module(inputs)
    converted = from_ncps(module)
    outputs, state = converted(inputs)
    torch.testing.assert_close(outputs, expected)
    again, _ = converted(inputs, state)
    assert not torch.allclose(again, outputs), "the state is taken back"


def test_without_ncps_the_install_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ncps.torch", None)
    with pytest.raises(ImportError, match="pip install ncps==1.0.1"):
        from_ncps(torch.nn.Linear(3, 3))
