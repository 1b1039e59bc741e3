"""The C of every cell does what plain torch does in double precision."""

import numpy as np
import pytest
import torch

from ncp_control import (
    GRU,
    LSTM,
    LTC,
    NCP19,
    CfC,
    Circuit,
    MixedMemory,
)
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import CController
from tests.ncp_control.every_cell import CELLS, random_ltc

QUICK = ("-O1",)
OTHERS = {
    "ltc-exponential": lambda: LTC(NCP19, integrator="exponential_euler", unfolds=3),
    "cfc-without-backbone": lambda: CfC(32, 16, 2, backbone_layers=0),
    "cfc-deep": lambda: CfC(32, 16, 2, backbone_layers=3, backbone_units=24, activation="relu"),
    "cfc-tanh": lambda: CfC(32, 16, 2, activation="tanh"),
    "lstm-with-time": lambda: LSTM(32, 16, 2, sees_time=True),
    "gru-with-time": lambda: GRU(32, 16, 2, sees_time=True),
    "mixed-gru": lambda: MixedMemory(GRU(32, 8, 2)),
    "mixed-lstm": lambda: MixedMemory(LSTM(32, 8, 2)),
}
EXPORTED = CELLS | OTHERS


@pytest.mark.parametrize("name", EXPORTED)
def test_a_step_is_that_of_torch_in_double_precision(name, policy_on, drawn, largest_step_error):
    policy = policy_on(EXPORTED[name]())
    controller = CController(policy, flags=QUICK)
    state, action, tau = largest_step_error(policy, controller, *drawn(policy, 40))
    # The others sum up over a hundred inputs.
    is_wired = name.startswith("ltc")
    assert state < (6e-7 if is_wired else 5e-6)
    assert action < (4e-7 if is_wired else 3e-6)
    assert tau < (6e-7 if is_wired else 1e-5)


def test_dt_0_changes_no_bit_of_a_liquid_state(policy_on, drawn):
    for integrator in ("semi_implicit_euler", "exponential_euler", "layered_midpoint"):
        policy = policy_on(LTC(NCP19, integrator=integrator))
        controller = CController(policy, flags=QUICK)
        observations, _ = drawn(policy, 3)
        controller.act(observations[0], 0.1)
        before = controller.state.copy()
        controller.act(observations[1], 0.0)
        np.testing.assert_array_equal(controller.state, before)


def test_the_longest_time_leads_to_rest(policy_on, drawn):
    for make in (CELLS["ltc"], CELLS["ltc-midpoint"], CELLS["cfc-pure"], CELLS["ctrnn"]):
        policy = policy_on(make())
        controller = CController(policy, flags=QUICK)
        observations, _ = drawn(policy, 1)
        action = controller.act(observations[0], 3e38)
        np.testing.assert_allclose(action, policy.act(observations[0], 3e38), atol=2e-6)


def test_an_input_that_counts_for_nothing_is_not_seen(policy_on, drawn, largest_step_error):
    cell = LTC(NCP19)
    with torch.no_grad():
        cell.input_scale.zero_()
        cell.input_offset.uniform_()
    policy = policy_on(cell)
    controller = CController(policy, flags=QUICK)
    assert largest_step_error(policy, controller, *drawn(policy, 10)).max() < 6e-7


@pytest.mark.slow
def test_10000_steps_on_50_random_wirings(policy_on, drawn, largest_step_error):
    worst = np.zeros(3)
    for k in range(50):
        torch.manual_seed(k)
        policy = policy_on(random_ltc(k))
        controller = CController(policy, flags=QUICK)
        errors = largest_step_error(policy, controller, *drawn(policy, 200, seed=k))
        worst = np.maximum(worst, errors)
    print(f"largest difference in a step: state {worst[0]:.1e}, action {worst[1]:.1e}")
    assert worst[:2].max() <= 1e-6
    assert worst[2] <= 2e-6


def test_cells_and_settings_without_c_code_are_refused(policy_on):
    with pytest.raises(ValueError, match="`integrator` must not be 'rk4' in C"):
        to_c(policy_on(LTC(NCP19, integrator="rk4")))
    with pytest.raises(ValueError, match="`activation` must be one of .*, got 'gelu'"):
        to_c(policy_on(CfC(4, 4, 1, activation="gelu")))

    class Mine(LTC):
        """A cell of a user's own."""

    with pytest.raises(ValueError, match="`cell` must be one that has C code .*, got 'Mine'"):
        to_c(policy_on(Mine(NCP19)))


def test_a_policy_of_another_kind_is_refused(flat_policy):
    with pytest.raises(ValueError, match="`policy` must be a FramesPolicy or a VectorPolicy"):
        to_c(flat_policy(Circuit(LTC(NCP19))))
