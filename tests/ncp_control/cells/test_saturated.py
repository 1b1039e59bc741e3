"""STC and LRC against their equations written anew, a solver, and the limits that join them."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ncp_control import LRC, LTC, NCP19, STC, Circuit, auto_ncp, fully_connected, make_cell
from ncp_control.cells import CellSizes, cell_from_config, cell_to_config
from ncp_control.cells.saturated import elastance
from ncp_control.cells.synaptic import inverse_softplus

FRAME_S = 0.05
KINDS = {
    "stc": lambda wiring, **how: STC(wiring, frame_s=FRAME_S, **how),
    "symmetric": lambda wiring, **how: LRC(wiring, frame_s=FRAME_S, **how),
    "asymmetric": lambda wiring, **how: LRC(wiring, frame_s=FRAME_S, elastance="asymmetric", **how),
}


def learned(cell, seed=0):
    """Return the cell in double precision with random weights, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    return cell.double()


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def rate(cell, inputs, v):
    """Return dv/dt [1/s] as the paper writes it, synapse by synapse, from the stored numbers."""
    n = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    wiring, rates = cell.wiring, np.zeros(len(v))
    seen = np.concatenate([inputs * n["input_scale"] + n["input_offset"], v])
    for i in range(wiring.num_neurons):
        g, e = softplus(n["raw_leak_conductance"][i]), softplus(n["raw_leak_potential"][i])
        forget = update = g
        y = n["elastance_bias"][i] if isinstance(cell, LRC) else 0.0
        for k, (source, target, sign) in enumerate(wiring.synapses):
            if target == wiring.num_sensory + i:
                opening = sigmoid(n["slope"][k] * (seen[source] - n["threshold"][k]))
                forget = forget + softplus(n["raw_weight"][k]) * opening
                update = update + sign * softplus(n["raw_update_weight"][k]) * opening
                if isinstance(cell, LRC):
                    y = y + n["elastance_weight"][k] * seen[source]
        rates[i] = e * np.tanh(update) - sigmoid(forget) * v[i]
        if not isinstance(cell, LRC):
            rates[i] /= FRAME_S * softplus(n["raw_capacitance"][i])
        elif cell.elastance == "symmetric":
            h = softplus(n["raw_elastance_width"][i])
            rates[i] *= (sigmoid(y + h) - sigmoid(y - h)) / FRAME_S
        else:
            rates[i] *= sigmoid(y) / FRAME_S
    return rates


@pytest.mark.parametrize("wiring", [auto_ncp(4, 10, 2), fully_connected(3, 4, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_equation_is_the_papers(kind, wiring):
    """One explicit step, small enough that none ends at rest; sparse and full wirings."""
    cell = learned(KINDS[kind](wiring, integrator="explicit_euler", unfolds=1))
    rng = np.random.default_rng(0)
    inputs, v = rng.normal(size=wiring.num_sensory), rng.uniform(-1, 1, wiring.num_neurons)
    for dt_s in (0.0, 0.2 * FRAME_S, FRAME_S if kind != "stc" else 0.3 * FRAME_S):
        expected = v + dt_s * rate(cell, inputs, v)
        with torch.no_grad():
            found = cell(
                torch.from_numpy(inputs)[None],
                torch.from_numpy(v)[None],
                torch.tensor([dt_s], dtype=torch.float64),
            )
        np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("integrator", "order"),
    [("semi_implicit_euler", 1), ("explicit_euler", 1), ("exponential_euler", 1),
     ("layered_midpoint", 2), ("rk4", 4)],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_small_steps_converge_to_the_solution_of_the_equation(kind, integrator, order):
    wiring = auto_ncp(4, 10, 2)
    inputs = torch.randn(1, 4, generator=torch.Generator().manual_seed(0)).double()
    state = torch.linspace(-0.8, 0.8, 10)[None].double()
    exact_of = learned(KINDS[kind](wiring))
    exact = solve_ivp(
        lambda _, v: rate(exact_of, inputs[0].numpy(), v), (0, 0.2), state[0].numpy(),
        method="DOP853", rtol=1e-11, atol=1e-12,
    ).y[:, -1]  # fmt: skip
    errors, steps = [], (16, 32, 64) if order < 4 else (16, 24, 32)
    for unfolds in steps:
        cell = KINDS[kind](wiring, integrator=integrator, unfolds=unfolds).double()
        cell.load_state_dict(exact_of.state_dict())
        with torch.no_grad():
            end = cell(inputs, state, torch.tensor([0.2], dtype=torch.float64))
        errors.append(np.linalg.norm(end[0].numpy() - exact))
    measured = np.polyfit(np.log(steps), -np.log(errors), 1)[0]
    assert measured == pytest.approx(order, abs=0.35)


def test_a_symmetric_elastance_is_a_difference_without_lost_digits():
    y, h = torch.linspace(-25, 25, 11).double(), torch.tensor([0.1, 1.0, 6.0]).double()[:, None]
    expected = torch.sigmoid(y + h) - torch.sigmoid(y - h)
    torch.testing.assert_close(elastance(y, h), expected, rtol=0, atol=1e-15)
    single = elastance(y.float(), h.float())
    torch.testing.assert_close(single.double(), elastance(y, h), rtol=1e-5, atol=0)
    assert (elastance(torch.tensor([-1e9, 1e9]), None) > 0.0).all()


def test_an_lrc_of_constant_elastance_is_an_stc():
    lrc = learned(LRC(NCP19, frame_s=FRAME_S, elastance="asymmetric"))
    stc = STC(NCP19, frame_s=FRAME_S).double()
    with torch.no_grad():
        lrc.elastance_weight.zero_()
        shared = {k: v for k, v in lrc.state_dict().items() if "elastance" not in k}
        stc.load_state_dict(shared, strict=False)
        stc.raw_capacitance.copy_(inverse_softplus(1.0 / torch.sigmoid(lrc.elastance_bias)))
    inputs = torch.randn(8, 20, 32).double()
    one, two = Circuit(lrc).record(inputs), Circuit(stc).record(inputs)
    torch.testing.assert_close(one.states, two.states, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(one.timescales_s, two.timescales_s, rtol=1e-12, atol=0)


def test_before_it_saturates_an_stc_is_an_ltc():
    """σ⁻¹ of its conductance and e tanh⁻¹(b / e) of its drive are a and b of the LTC."""
    stc = learned(STC(NCP19, frame_s=FRAME_S))
    ltc, p = LTC(NCP19, frame_s=FRAME_S).double(), stc.effective_parameters()
    with torch.no_grad():
        stc.raw_update_weight.copy_(torch.full_like(stc.raw_update_weight, -4.0))
        stc.raw_weight.sub_(2.0)  # so that neither function is flat to the last digits
        p = stc.effective_parameters()
        shared = {k: v for k, v in stc.state_dict().items() if k in ltc.state_dict()}
        ltc.load_state_dict(shared, strict=False)
        ltc.leak_potential.copy_(p.leak_potential)
        reversal = p.update_weight * p.leak_potential[stc.target] / p.weight
        ltc.raw_reversal.copy_(inverse_softplus(reversal.abs()))
        inputs, state = torch.randn(6, 32).double(), torch.randn(6, 19).double()
        saturated, plain = (
            cell.membrane(inputs).conductance_and_drive(state) for cell in (stc, ltc)
        )
    unsaturated = (
        torch.logit(saturated[0]),
        p.leak_potential * torch.atanh(saturated[1] / p.leak_potential),
    )
    torch.testing.assert_close(unsaturated[0], plain[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(unsaturated[1], plain[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(stc._capacitance_s(), ltc.effective_parameters().capacitance_s)


@pytest.mark.parametrize("how", [{}, {"integrator": "explicit_euler", "unfolds": 1}])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind, how):
    wiring = auto_ncp(3, 8, 2)
    cell = learned(KINDS[kind](wiring, **(how or {"unfolds": 2}))).double()
    inputs = torch.randn(2, 3, 3).double().requires_grad_()
    dt_s = torch.tensor([[0.05, 0.0, 0.02], [0.01, 0.04, 0.05]]).double()
    names, values = zip(*cell.named_parameters(), strict=True)

    def run(inputs, *values):
        call = torch.func.functional_call
        circuit = Circuit(cell)
        named = {f"cell.{name}": value for name, value in zip(names, values, strict=True)}
        return call(circuit, named, (inputs,), {"dt_s": dt_s})[0]

    assert torch.autograd.gradcheck(run, (inputs, *values), fast_mode=True)


@pytest.mark.parametrize(
    ("name", "per_synapse", "per_neuron"),
    [("stc", 4, 3), ("lrc", 5, 4), ("lrcu", 5, 4), ("lrc_asymmetric", 5, 3), ("ltc", 4, 3)],
)
def test_only_synapses_of_the_wiring_are_stored_and_seen(name, per_synapse, per_neuron):
    sizes = CellSizes(num_inputs=8, num_units=19, num_outputs=2, frame_s=FRAME_S)
    cell = make_cell(name, sizes)
    wiring, affine = cell.wiring, 2 * 8 + 2 * 2
    assert sum(p.numel() for p in cell.parameters()) - affine == (
        per_synapse * wiring.num_synapses + per_neuron * wiring.num_neurons
    )
    if name != "lrcu":
        return
    state, inputs = torch.rand(1, 19, requires_grad=True), torch.rand(1, 8, requires_grad=True)
    end = cell(inputs, state, torch.tensor([FRAME_S]))
    connected = {(s.source, s.target) for s in wiring.synapses}
    for target in range(19):
        gradient = torch.autograd.grad(end[0, target], (inputs, state), retain_graph=True)
        for source, value in enumerate(torch.cat(gradient, dim=1)[0].tolist()):
            if source != 8 + target:
                assert (value != 0.0) == ((source, 8 + target) in connected)


@pytest.mark.parametrize("name", ["stc", "lrc", "lrcu", "lrc_asymmetric", "lrcu_asymmetric"])
def test_a_cell_is_built_by_its_name_and_rebuilt_from_its_settings(name):
    sizes = CellSizes(num_inputs=5, num_units=12, num_outputs=2, frame_s=FRAME_S)
    cell = make_cell(name, sizes)
    config = cell_to_config(cell)
    assert config["name"] == ("stc" if name == "stc" else "lrc")
    other = cell_from_config(config)
    other.load_state_dict(cell.state_dict())
    inputs = torch.randn(2, 9, 5)
    assert torch.equal(Circuit(cell)(inputs)[0], Circuit(other)(inputs)[0])


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"`elastance` must be one of .*, got 'symmetrical'"):
        LRC(NCP19, elastance="symmetrical")
    with pytest.raises(ValueError, match="`reads` must be 'motor'"):
        STC(fully_connected(3, 2, 2), reads="command")


@pytest.mark.parametrize("name", ["lrcu", "lrc_asymmetric", "stc"])
def test_a_circuit_learns(name):
    """To tell the difference of two inputs that stay the same."""
    torch.manual_seed(0)
    sizes = CellSizes(num_inputs=2, num_units=10, num_outputs=1, frame_s=1.0)
    circuit = Circuit(make_cell(name, sizes))
    optimizer = torch.optim.Adam(circuit.parameters(), lr=3e-2)
    losses = []
    for _ in range(50):
        inputs = torch.rand(32, 1, 2)
        outputs, _ = circuit(inputs.expand(-1, 6, -1))
        loss = (outputs[:, -1, 0] - (inputs[:, 0, 0] - inputs[:, 0, 1])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.04 < 0.14 < np.mean(losses[:2])


def test_a_unit_passes_a_signal_on_by_one_layer_a_frame():
    cell = LRC(auto_ncp(4, 10, 2), integrator="explicit_euler", unfolds=1)
    inputs = torch.rand(1, 3, 4, requires_grad=True)
    outputs, _ = Circuit(cell)(inputs)
    seen = torch.autograd.grad(outputs[0, -1].sum(), inputs)[0].abs().sum(dim=(0, 2))
    assert seen[0] > 0.0 and seen[1] == 0.0 and seen[2] == 0.0
