"""Where exactly a recorded value breaks a certificate, and how that is told: limits by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from ncp_control.audit.bounds import Certificate, Violation, describe_violations, find_violations
from ncp_control.audit.interval_circuit import Interval
from ncp_control.circuit import Activity

ROUNDING = 1e-4
"""The allowance for single precision, a share of the interval's size."""


def certificate(count=2):
    """Potentials from -1 to 3, τ from 0.5 to 2 s, speed up to 8 1/s, output from -2 to 4."""
    ones = np.ones(count)
    return Certificate(
        neuron_names=[f"inter_{i}" for i in range(count)],
        state=Interval(-ones, 3.0 * ones),
        tau_s=Interval(0.5 * ones, 2.0 * ones),
        speed=8.0 * ones,
        output=Interval(np.array([-2.0]), np.array([4.0])),
        frame_gain=np.ones((1, 1)),
        gain_dt_s=1.0,
        lasting_gain=np.ones((1, 1)),
    )


def recorded(states, taus_s=None, dt_s=None, reset=None, outputs=None):
    """An activity from nested lists of shape (sequences, frames, neurons), in double precision."""
    states = torch.tensor(states, dtype=torch.float64)
    return Activity(
        neuron_names=[f"inter_{i}" for i in range(states.shape[2])],
        states=states,
        outputs=torch.zeros_like(states[..., :1]) if outputs is None
        else torch.tensor(outputs, dtype=torch.float64),
        dt_s=torch.ones(states.shape[:2], dtype=torch.float64) if dt_s is None
        else torch.tensor(dt_s, dtype=torch.float64),
        timescales_s=torch.ones_like(states) if taus_s is None
        else torch.tensor(taus_s, dtype=torch.float64),
        synaptic_currents=None,
        reset=reset,
    )  # fmt: skip


def found(*args, **options):
    return [
        (v.quantity, v.neuron, v.sequence, v.frame, v.value, pytest.approx(v.limit))
        for v in find_violations(certificate(), recorded(*args, **options))
    ]


def test_a_value_at_its_limit_is_no_violation_and_one_beyond_is():
    low, high = -1.0 - 4.0 * ROUNDING, 3.0 + 4.0 * ROUNDING  # the allowance is 4 units of size
    assert found([[[low, high]]]) == []
    beyond = [[[np.nextafter(low, -np.inf), np.nextafter(high, np.inf)]]]
    assert found(beyond) == [
        ("state", "inter_0", 0, 0, beyond[0][0][0], low),
        ("state", "inter_1", 0, 0, beyond[0][0][1], high),
    ]


def test_an_output_has_an_allowance_of_its_size_and_is_named_after_its_motor_neuron():
    low, high = -2.0 - 10.0 * ROUNDING, 4.0 + 10.0 * ROUNDING  # 6 units of size, up to 4 from zero
    still = [[[0.0, 0.0], [0.0, 0.0]]]
    assert found(still, outputs=[[[low], [high]]]) == []
    assert found(still, outputs=[[[0.0], [4.1]]]) == [("output", "inter_1", 0, 1, 4.1, high)]


def test_time_constants_have_a_relative_allowance():
    low, high = 0.5 * (1.0 - ROUNDING), 2.0 * (1.0 + ROUNDING)
    still = [[[0.0, 0.0]]]
    assert found(still, [[[low, high]]]) == []
    assert found(still, [[[0.49, 2.1]]]) == [
        ("tau", "inter_0", 0, 0, 0.49, low),
        ("tau", "inter_1", 0, 0, 2.1, high),
    ]


def test_speed_is_that_between_frames_and_from_zero_at_first():
    limit = 8.0 * (1.0 + ROUNDING) + ROUNDING
    step = [[[0.0, 0.0], [2.0, -0.5]]]
    assert found(step, dt_s=[[1.0, 0.25]]) == []
    fast = found(step, dt_s=[[1.0, 0.125]])
    assert fast == [("speed", "inter_0", 0, 1, 16.0, limit)]
    backwards = found([[[2.0, 0.0], [0.0, 0.0]]], dt_s=[[1.0, 0.125]])
    assert backwards == [("speed", "inter_0", 0, 1, 16.0, limit)]
    from_zero = found([[[0.0, 2.0]]], dt_s=[[0.125]])
    assert from_zero == [("speed", "inter_1", 0, 0, 16.0, limit)]
    assert found([[[0.0, limit / 8]]], dt_s=[[0.125]]) == []
    forgotten = torch.tensor([[False, True]])
    assert found([[[2.0, 0.0], [0.5, 0.0]]], dt_s=[[1.0, 0.125]], reset=forgotten) == []


def test_in_no_time_nothing_moves_but_by_rounding():
    allowance = 4.0 * ROUNDING
    assert found([[[allowance, 0.0]]], dt_s=[[0.0]]) == []
    beyond = found([[[1.5 * allowance, 0.0]]], dt_s=[[0.0]])
    assert [(v[0], v[4]) for v in beyond] == [("speed", np.inf)]


def test_in_no_time_a_slow_neuron_that_stays_is_no_violation():
    slow = Certificate(**(vars(certificate()) | {"speed": np.full(2, 0.5)}))
    assert find_violations(slow, recorded([[[0.0, 0.0]]], dt_s=[[0.0]])) == []


def test_the_worst_of_each_neuron_is_told_once():
    states = [[[4.0, 0.0], [3.5, 0.0]], [[5.0, -2.0], [3.5, -3.0]]]
    assert [v[:5] for v in found(states, dt_s=[[9.0, 9.0]] * 2)] == [
        ("state", "inter_0", 1, 0, 5.0),
        ("state", "inter_1", 1, 1, -3.0),
    ]


def test_an_interval_of_no_size_allows_for_rounding_still():
    flat = certificate(1)
    flat = Certificate(**(vars(flat) | {"state": Interval(np.zeros(1), np.zeros(1))}))
    slow = {"dt_s": [[1.0]]}
    assert find_violations(flat, recorded([[[ROUNDING * 1e-6]]], **slow)) == []
    assert len(find_violations(flat, recorded([[[ROUNDING * 1e-6 * 1.01]]], **slow))) == 1


def violation(number):
    return Violation(
        quantity="speed", neuron=f"inter_{number}", sequence=2, frame=7, value=9.5, limit=8.0
    )


def test_violations_are_told_in_order_five_of_them_and_how_many_more():
    assert describe_violations([]) == "never violated"
    text = "speed of inter_0 at frame 7 of sequence 2: 9.5 1/s, 1.5 1/s beyond its limit 8 1/s"
    assert describe_violations([violation(0)]) == f"violated: {text}"
    five = describe_violations([violation(i) for i in range(5)])
    assert five.count("speed of") == 5 and "more" not in five
    eight = describe_violations([violation(i) for i in range(8)])
    assert eight == f"{five}; and 3 more"
    assert describe_violations([violation(i) for i in range(6)]) == f"{five}; and 1 more"
    below = Violation(quantity="tau", neuron="m", sequence=0, frame=1, value=0.25, limit=0.5)
    assert str(below).endswith("0.25 s, 0.25 s beyond its limit 0.5 s")


@pytest.mark.parametrize("change", [{"timescales_s": None}, {"neuron_names": ["inter_1", "x"]}])
def test_an_activity_of_another_circuit_is_refused(change):
    activity = dataclasses.replace(recorded([[[0.0, 0.0]]]), **change)
    with pytest.raises(ValueError, match="`activity` must be of the certified circuit"):
        find_violations(certificate(), activity)
