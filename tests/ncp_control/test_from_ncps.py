"""Models carried over from ncps give the outputs they gave there."""

import copy
import sys

import pytest
import torch

from ncp_control import LTC, CfC, MixedMemory, from_ncps

ncps_torch = pytest.importorskip("ncps.torch")
from ncps import wirings  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-7}  # theirs adds ε = 1e-8 to a denominator


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
    return module.eval()


def to_dtype(module, dtype):
    """Their LTC reads its parameters from a plain dict, which `.to` passes by."""
    module = module.to(dtype)
    if isinstance(module, ncps_torch.LTC):
        module.rnn_cell._params = dict(module.rnn_cell.named_parameters())
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


@pytest.mark.parametrize(("input_mapping", "output_mapping"), [(None, "linear"), ("linear", None)])
def test_ltc_without_maps(input_mapping, output_mapping):
    module = ncps_torch.LTC(
        6, 9, ode_unfolds=3, input_mapping=input_mapping, output_mapping=output_mapping
    )
    circuit = from_ncps(trained(module, 6))
    assert circuit.cell.unfolds == 3
    agree(module, circuit, 6, torch.float32, 1.0)


def test_signs_are_the_trained_ones():
    module = trained(ncps_torch.LTC(6, wirings.NCP(8, 5, 2, 4, 3, 4, 3)), 6)
    trained_signs = module.rnn_cell._params["erev"].detach().sign()
    assert (trained_signs * torch.tensor(module._wiring.adjacency_matrix) < 0).any()
    # Theirs run motor, command, inter; ours the other way round, each layer in the same order.
    place = [*range(7, 15), *range(2, 7), *range(2)]
    for source, target, sign in from_ncps(module).cell.wiring.synapses:
        if source >= 6:
            assert sign == trained_signs[place[source - 6], place[target - 6]]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", ["default", "pure", "no_gate"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"proj_size": 3}, {"backbone_layers": 0}, {"backbone_layers": 2, "activation": "silu"}],
    ids=str,
)
def test_cfc_gives_equal_outputs(dtype, mode, settings):
    module = trained(ncps_torch.CfC(6, 9, mode=mode, **settings), 6).to(dtype)
    circuit = from_ncps(module, frame_s=0.05)
    assert isinstance(circuit.cell, CfC)
    agree(module, circuit, 6, dtype, 0.05)


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: ncps_torch.CfC(6, 9, mixed_memory=True),
        lambda: ncps_torch.LTC(6, wirings.AutoNCP(16, 3), mixed_memory=True),
    ],
    ids=["cfc", "ltc"],
)
def test_mixed_memory_comes_along(make):
    module = trained(make(), 6)
    circuit = from_ncps(module)
    assert isinstance(circuit.cell, MixedMemory)
    agree(module, circuit, 6, torch.float32, 1.0)


def test_the_module_is_left_as_it_was():
    module = trained(ncps_torch.LTC(6, wirings.AutoNCP(16, 3)), 6)
    before = copy.deepcopy(module.state_dict())
    from_ncps(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_cannot_be_carried_over_is_refused_with_the_reason():
    wired = ncps_torch.CfC(6, wirings.AutoNCP(16, 3))
    with pytest.raises(ValueError, match="its time gates and recurrence ignore the wiring"):
        from_ncps(wired)
    with pytest.raises(TypeError, match="must be an ncps.torch.LTC or CfC, got 'Linear'"):
        from_ncps(torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="`module` must have epsilon=1e-08, got 0.01"):
        from_ncps(ncps_torch.LTC(6, 9, epsilon=0.01))
    replaced = ncps_torch.LTC(6, 9)
    replaced.load_state_dict(ncps_torch.LTC(6, 9).state_dict(), assign=True)
    with pytest.raises(ValueError, match="`module` must compute with its own parameters, got "):
        from_ncps(replaced)
    explicit = ncps_torch.LTC(6, 9, implicit_param_constraints=False)
    explicit.rnn_cell._params["cm"].data[2] = -0.5
    with pytest.raises(ValueError, match="`cm` must not be negative, got -0.5 in the module"):
        from_ncps(explicit)


def test_without_ncps_the_install_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ncps.torch", None)
    with pytest.raises(ImportError, match="pip install ncps==1.0.1"):
        from_ncps(torch.nn.Linear(3, 3))
