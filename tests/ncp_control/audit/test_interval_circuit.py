"""Interval arithmetic of a circuit, each rule on a circuit small enough to do by hand."""

import numpy as np
import pytest
import torch

from ncp_control import LTC, Wiring
from ncp_control.audit.bounds import certify
from ncp_control.audit.interval_circuit import Interval, IntervalCircuit

PAIR = Wiring(
    num_sensory=2, num_inter=1, num_command=0, num_motor=1,
    synapses=((0, 2, 1), (1, 2, -1), (2, 3, 1)),
)  # fmt: skip
"""Two inputs, one exciting and one inhibiting an inter neuron, which excites the motor neuron."""


def circuit(**numbers):
    """The pair's circuit with effective parameters as given."""
    made = IntervalCircuit(LTC(PAIR).double())
    for name, value in numbers.items():
        assert hasattr(made, name)
        setattr(made, name, np.asarray(value, dtype=float))
    return made


def test_an_empty_range_names_its_first_input():
    cell = LTC(PAIR)
    with pytest.raises(ValueError, match=r"got 1.0 and 0.5 for input 1. Swap"):
        certify(cell, np.array([0.0, 1.0]), np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="`input_low` must be numbers, got NaN"):
        certify(cell, np.array([np.nan, 1.0]), 0.5)
    certify(cell, 0.25, 0.25)


def test_inputs_are_scaled_turned_and_shifted_and_one_of_scale_zero_is_known():
    made = circuit(input_scale=[0.0, -2.0], input_offset=[0.3, 1.0])
    low, high = made.affine_inputs(-np.inf, np.inf)
    assert (low.tolist(), high.tolist()) == ([0.3, -np.inf], [0.3, np.inf])
    low, high = made.affine_inputs(np.array([5.0, 1.0]), np.array([6.0, 3.0]))
    assert (low.tolist(), high.tolist()) == ([0.3, -5.0], [0.3, -1.0])


def test_the_widest_state_is_the_hull_of_zero_the_leak_and_the_reversals():
    made = circuit(leak_potential=[0.5, -0.2], reversal=[2.0, 3.0, -4.0])
    low, high = made.widest_state()
    assert (low.tolist(), high.tolist()) == ([0.0, -4.0], [3.0, 0.0])
    made = circuit(leak_potential=[-0.5, 0.2], reversal=[-2.0, -3.0, 4.0])
    low, high = made.widest_state()
    assert (low.tolist(), high.tolist()) == ([-3.0, 0.0], [0.0, 4.0])


def test_conductances_grow_or_fall_with_what_opens_them():
    made = circuit(weight=[1.0, 2.0, 4.0], slope=[3.0, -3.0, 0.0], threshold=[0.5, 0.5, 9.0])
    ends = Interval(np.array([0.0, -np.inf]), np.array([1.0, np.inf]))
    low, high = made.conductances(ends, Interval(np.zeros(2), np.ones(2)))
    opening = 1.0 / (1.0 + np.exp(-3.0 * 0.5))
    np.testing.assert_allclose(low, [1.0 - opening, 0.0, 2.0])
    np.testing.assert_allclose(high, [opening, 2.0, 2.0])


def test_the_state_lies_between_the_extreme_weighted_means():
    """Inter neuron: g = 1 at 0.5, c₁ in [1, 3] at 2, c₂ in [0, 2] at -1; motor: leak alone."""
    made = circuit(leak=[1.0, 1.0], leak_potential=[0.5, -0.25], reversal=[2.0, -1.0, 7.0])
    conductance = Interval(np.array([1.0, 0.0, 0.0]), np.array([3.0, 2.0, 0.0]))
    low, high = made.state_interval(conductance)
    np.testing.assert_allclose(low, [0.0, -0.25])  # (0.5 + 2 - 2) / 4 is above zero
    np.testing.assert_allclose(high, [(0.5 + 6.0) / 4.0, 0.0])
    made = circuit(leak=[1.0, 1.0], leak_potential=[-0.5, -0.25], reversal=[2.0, -1.0, 7.0])
    np.testing.assert_allclose(made.state_interval(conductance).low[0], (-0.5 + 2.0 - 2.0) / 4.0)


@pytest.mark.parametrize(
    ("leak", "reversals", "low", "high"),
    [
        (5.0, (2.0, 1.0), 0.0, (5.0 + 2.0) / 2.0),  # all pull down: as little as they can
        (5.0, (-2.0, -1.0), (5.0 - 6.0 - 2.0) / 6.0, (5.0 - 2.0) / 2.0),  # or as much
        (-5.0, (2.0, 1.0), (-5.0 + 2.0) / 2.0, (-5.0 + 6.0 + 2.0) / 6.0),
    ],
)
def test_where_all_synapses_pull_one_way_all_are_small_or_all_large(leak, reversals, low, high):
    made = circuit(leak=[1.0, 1.0], leak_potential=[leak, 0.0], reversal=[*reversals, 7.0])
    found = made.state_interval(Interval(np.array([1.0, 0.0, 0.0]), np.array([3.0, 2.0, 0.0])))
    np.testing.assert_allclose([found.low[0], found.high[0]], [low, high])
    np.testing.assert_allclose(found.size[0], high - low)


def test_time_constants_speed_and_output_are_those_of_the_ends():
    made = circuit(
        leak=[1.0, 2.0], leak_potential=[0.5, 0.0], reversal=[2.0, -1.0, 1.0],
        capacitance_s=[0.1, 0.2], output_scale=[-2.0], output_offset=[0.25],
    )  # fmt: skip
    conductance = Interval(np.array([1.0, 0.0, 0.5]), np.array([3.0, 2.0, 1.0]))
    low, high = made.tau_interval(conductance)
    np.testing.assert_allclose(low, [0.1 / 6.0, 0.2 / 3.0])
    np.testing.assert_allclose(high, [0.1 / 2.0, 0.2 / 2.5])
    state = Interval(np.array([-1.0, -0.5]), np.array([1.5, 0.5]))
    # At v = -1 upwards: 1.5 + 3·3 + 2·0; at 1.5 downwards: -1 + 1·0.5 + 2·(-2.5).
    # Motor at -0.5 upwards: 1 + 1·1.5; at 0.5 downwards: -1 + 0.5·0.5.
    np.testing.assert_allclose(
        made.largest_speed(conductance, state), [max(10.5, 5.5) / 0.1, max(2.5, 0.75) / 0.2]
    )
    low, high = made.output_interval(state)
    np.testing.assert_allclose([low, high], [[-0.75], [1.25]])


def test_gains_are_sums_over_the_ways_from_input_to_output():
    """One sub-step reaches the inter neuron only; the motor neuron follows in the second."""
    made = circuit(
        leak=[1.0, 2.0], capacitance_s=[0.1, 0.2], weight=[1.0, 2.0, 4.0],
        slope=[3.0, -3.0, 5.0], threshold=[0.0, 0.0, 0.0], reversal=[2.0, -1.0, 1.0],
        input_scale=[1.0, -2.0], output_scale=[-2.0],
    )  # fmt: skip
    inputs, state = Interval(np.zeros(2), np.zeros(2)), Interval(-np.ones(2), np.ones(2))
    conductance = Interval(np.zeros(3), np.ones(3))
    # w |γ| s(1 − s) max|E − v|, s(1 − s) = 1/4 at the threshold; the second times |scale| = 2.
    first, second, onwards = 1 * 3 / 4 * 3, 2 * 3 / 4 * 2 * 2, 4 * 5 / 4 * 2
    lasting = np.array([[first, second]]) / 1.0 * onwards / 2.0 * 2.0
    made.integrator, made.unfolds = "semi_implicit_euler", 2
    gain, at_last = made.output_gains(inputs, conductance, state, 0.1)
    h = 0.05
    inter = h * np.array([[first, second]]) / (0.1 + h * 1.0)
    np.testing.assert_allclose(gain, 2.0 * h * onwards * inter / (0.2 + h * 2.0))
    np.testing.assert_allclose(at_last, lasting)
    made.integrator = "exponential_euler"
    gain, at_last = made.output_gains(inputs, conductance, state, 0.1)
    inter = (1.0 - np.exp(-h / 0.1)) * np.array([[first, second]])
    np.testing.assert_allclose(gain, 2.0 * (1.0 - np.exp(-h * 2.0 / 0.2)) / 2.0 * onwards * inter)
    np.testing.assert_allclose(at_last, lasting)
    # In a third sub-step what each had is kept as far as it does not decay.
    made.unfolds = 3
    gain, _ = made.output_gains(inputs, conductance, state, 0.15)
    kept, ours = np.exp(-h / 0.1), np.exp(-h * 2.0 / 0.2)
    motor = (1.0 - ours) / 2.0 * onwards * inter
    inter = kept * inter + inter
    np.testing.assert_allclose(gain, 2.0 * (ours * motor + (1.0 - ours) / 2.0 * onwards * inter))


def test_a_synapse_of_no_weight_is_certified():
    cell = LTC(PAIR)
    with torch.no_grad():
        cell.raw_weight.fill_(-200.0)
    assert not cell.effective_parameters().weight.any()
    leak = cell.leak_potential.detach().double().numpy()
    certificate = certify(cell)
    np.testing.assert_allclose(certificate.state.low, np.minimum(leak, 0.0), atol=1e-9)
    np.testing.assert_allclose(certificate.state.high, np.maximum(leak, 0.0), atol=1e-9)
    assert not certificate.frame_gain.any() and not certificate.lasting_gain.any()


@pytest.mark.parametrize(("slope", "is_certain"), [(3.9, True), (4.0, False), (4.1, False)])
def test_a_loop_that_may_amplify_has_no_lasting_gain(slope, is_certain):
    """A neuron of leak 4 that excites itself: J = w γ / 4 · 2, and certain below 4."""
    wiring = Wiring(
        num_sensory=1, num_inter=1, num_command=0, num_motor=1,
        synapses=((0, 1, 1), (1, 2, 1), (2, 2, 1)),
    )  # fmt: skip
    made = IntervalCircuit(LTC(wiring).double())
    numbers = {
        "leak": [2.0, 4.0], "weight": [1.0, 1.0, 1.0], "slope": [4.0, 4.0, 2.0 * slope],
        "threshold": [0.0] * 3, "reversal": [1.0] * 3, "input_scale": [1.0],
        "output_scale": [3.0], "output_offset": [0.5],
    }  # fmt: skip
    for name, values in numbers.items():
        setattr(made, name, np.array(values))
    state = Interval(-np.ones(2), np.array([1.0, 0.25]))
    _, lasting = made.output_gains(Interval(np.zeros(1), np.zeros(1)),
                                   Interval(np.zeros(3), np.ones(3)), state, 0.1)  # fmt: skip
    inter = 2.0 / 2.0  # w γ / 4 · |E − v| over the leak
    expected = 3.0 * inter * 2.0 / (4.0 - slope) if is_certain else np.inf
    np.testing.assert_allclose(lasting, [[expected]])
    low, high = made.output_interval(state)
    np.testing.assert_allclose([low, high], [[-2.5], [1.25]])


def test_one_exact_sub_step_of_one_synapse():
    wiring = Wiring(num_sensory=1, num_inter=0, num_command=0, num_motor=1, synapses=((0, 1, 1),))
    made = IntervalCircuit(LTC(wiring, integrator="exponential_euler", unfolds=1).double())
    numbers = {
        "leak": 2.0, "capacitance_s": 0.2, "weight": 4.0, "slope": 5.0, "threshold": 0.0,
        "reversal": 1.0, "input_scale": 1.0, "output_scale": -2.0,
    }  # fmt: skip
    for name, value in numbers.items():
        setattr(made, name, np.array([value]))
    still, state = Interval(np.zeros(1), np.zeros(1)), Interval(-np.ones(1), np.ones(1))
    gain, _ = made.output_gains(still, Interval(np.zeros(1), np.ones(1)), state, 0.1)
    np.testing.assert_allclose(gain, [[2.0 * (1.0 - np.exp(-0.1 * 2.0 / 0.2)) / 2.0 * 10.0]])
