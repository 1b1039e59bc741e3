"""Each integrator against its order, a closed form and SciPy's DOP853."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ncp_control import LTC, NCP19, fully_connected, random_wiring
from ncp_control.integrators import INTEGRATORS

ORDERS = {
    "semi_implicit_euler": 1,
    "explicit_euler": 1,
    "exponential_euler": 1,
    "layered_midpoint": 2,
    "rk4": 4,
}
WITHIN_BOUNDS = ["semi_implicit_euler", "explicit_euler", "exponential_euler", "layered_midpoint"]
FRAME_S = 1 / 30


def make_cell(integrator, unfolds=1, wiring=NCP19):
    torch.manual_seed(1)
    return LTC(wiring, integrator=integrator, unfolds=unfolds).double()


def solve_exactly(cell, inputs, state, dt_s):
    membrane = cell.membrane(inputs)

    def rate(_, v):
        v = torch.from_numpy(v)[None]
        conductance, drive = membrane.conductance_and_drive(v)
        return ((drive - conductance * v) / membrane.capacitance_s)[0].numpy()

    with torch.no_grad():
        solution = solve_ivp(
            rate, (0, dt_s), state[0].numpy(), method="DOP853", rtol=1e-12, atol=1e-12
        )
    return torch.from_numpy(solution.y[:, -1])


def test_every_integrator_has_a_stated_order():
    assert set(ORDERS) == set(INTEGRATORS)


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_order_of_convergence(name, order):
    inputs = torch.rand(1, 32, dtype=torch.float64)
    state = torch.rand(1, 19, dtype=torch.float64) - 0.5
    exact = solve_exactly(make_cell(name), inputs, state, FRAME_S)
    errors = []
    unfolds = [32, 64, 128]
    for n in unfolds:
        with torch.no_grad():
            end = make_cell(name, n)(inputs, state, torch.tensor([FRAME_S], dtype=torch.float64))
        errors.append(float((end[0] - exact).norm()))
    measured = np.polyfit(np.log(unfolds), -np.log(errors), 1)[0]
    assert measured == pytest.approx(order, abs=0.25)


def test_midpoint_is_far_more_exact_than_the_papers_solver_at_a_third_of_the_work():
    """Along a driven trajectory: 2 evaluations of the synapses against 6."""
    dt_s = torch.full((16,), FRAME_S, dtype=torch.float64)
    euler, midpoint = make_cell("semi_implicit_euler", 6), make_cell("layered_midpoint", 2)
    state = torch.zeros(16, 19, dtype=torch.float64)
    errors = []
    for _ in range(4):
        inputs = torch.rand(16, 32, dtype=torch.float64)
        exact = torch.stack(
            [solve_exactly(euler, inputs[i : i + 1], state[i : i + 1], FRAME_S) for i in range(16)]
        )
        with torch.no_grad():
            ends = euler(inputs, state, dt_s), midpoint(inputs, state, dt_s)
        errors.append([float((end - exact).abs().mean()) for end in ends])
        state = exact
    error_euler, error_midpoint = np.mean(errors, axis=0)
    assert error_midpoint < error_euler / 5


@pytest.mark.parametrize("name", WITHIN_BOUNDS)
def test_midpoint_solves_undriven_layers_exactly(name):
    """Inter neurons hear held inputs alone: a linear equation that the exponential solves."""
    cell = make_cell(name)
    inputs = torch.rand(1, 32, dtype=torch.float64)
    state = torch.rand(1, 19, dtype=torch.float64)
    exact = solve_exactly(cell, inputs, state, 0.1)
    with torch.no_grad():
        end = cell(inputs, state, torch.tensor([0.1], dtype=torch.float64))[0]
    error = (end - exact)[:12].abs().max()
    assert (error < 1e-9) == (name in ("exponential_euler", "layered_midpoint"))


@pytest.mark.parametrize("name", INTEGRATORS)
def test_free_decay_is_exponential(name):
    """With all synapses closed, v decays to the leak potential at exp(-t/τ), τ = C/g."""
    cell = make_cell(name, unfolds=20000 if ORDERS[name] == 1 else 200)
    with torch.no_grad():
        cell.threshold.fill_(1e6)
        state = torch.rand(1, 19, dtype=torch.float64)
        inputs = torch.zeros(1, 32, dtype=torch.float64)
        end = cell(inputs, state, torch.tensor([0.1], dtype=torch.float64))
        p = cell.effective_parameters()
    tau_s = p.capacitance_s / p.leak_conductance
    expected = p.leak_potential + (state - p.leak_potential) * torch.exp(-0.1 / tau_s)
    torch.testing.assert_close(end, expected, rtol=0, atol=2e-5 if ORDERS[name] == 1 else 1e-9)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_no_time_no_change(name):
    cell = make_cell(name, 3)
    state = torch.rand(2, 19, dtype=torch.float64)
    inputs = torch.rand(2, 32, dtype=torch.float64)
    torch.testing.assert_close(cell(inputs, state, torch.zeros(2).double()), state)


@pytest.mark.parametrize("name", WITHIN_BOUNDS)
@pytest.mark.parametrize("input_size", [1.0, 1e6])
def test_states_and_time_constants_stay_within_their_bounds(name, input_size):
    """v in [min(V, E), max(V, E)] and C/(g + Σw) ≤ τ ≤ C/g, whatever comes in (theorems 1, 2)."""
    cell = make_cell(name, 2)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(2.0 * torch.randn_like(parameter))
        p = cell.effective_parameters()
        low, high, most = p.leak_potential.clone(), p.leak_potential.clone(), p.leak_conductance
        low.scatter_reduce_(0, cell.target, p.reversal_potential, "amin")
        high.scatter_reduce_(0, cell.target, p.reversal_potential, "amax")
        most = most.index_add(0, cell.target, p.weight)
        state = low + (high - low) * torch.rand(50, 19, dtype=torch.float64)
        for _ in range(40):
            inputs = input_size * torch.randn(50, 32, dtype=torch.float64)
            dt_s = 10 ** (8 * torch.rand(50, dtype=torch.float64) - 5)
            state = cell(inputs, state, dt_s)
            assert (state >= low - 1e-9).all() and (state <= high + 1e-9).all()
            tau_s = cell.timescales(inputs, state)
            assert (tau_s <= p.capacitance_s / p.leak_conductance * (1 + 1e-9)).all()
            assert (tau_s >= p.capacitance_s / most * (1 - 1e-9)).all()


def test_midpoint_refuses_a_wiring_that_runs_backwards():
    backwards = random_wiring(4, 6, 2, num_sensory_synapses=12, num_inner_synapses=30)
    for wiring in (backwards, fully_connected(4, 6, 2)):
        with pytest.raises(ValueError, match="from a later to an earlier layer"):
            LTC(wiring, integrator="layered_midpoint")


def test_unknown_integrator_is_refused():
    with pytest.raises(ValueError, match="`integrator` must be one of .*, got 'euler'"):
        LTC(NCP19, integrator="euler")
    with pytest.raises(ValueError, match="`unfolds` must be a whole number of at least 1, got 0"):
        LTC(NCP19, unfolds=0)
