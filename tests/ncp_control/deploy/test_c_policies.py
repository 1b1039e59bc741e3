"""Whole policies as C: what they sense, and how they answer bad input."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Feedforward, FramesPolicy, VectorPolicy, auto_ncp, load
from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.self_test import TOLERANCES, draw_observations, draw_times, expected
from ncp_control.deploy.c.senses import dequantize, to_int8
from ncp_control.deploy.c.targets import HOST
from ncp_control.policy import shipped_policies
from ncp_control.records import frames_in, numbers_in, pack
from tests.ncp_control.deploy.c_programs import run, small_walker

QUICK = ("-O1",)


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_pass_their_self_test(name, tmp_path):
    done = run(to_c(load(name)), tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["walker2d-ltc", "halfcheetah-ltc"])
def test_a_step_of_a_shipped_walker(name, drawn, largest_step_error):
    policy = load(name)
    errors = largest_step_error(policy, CController(policy, flags=QUICK), *drawn(policy, 60))
    assert errors.max() < 2e-6


def test_the_shipped_driver_acts_as_on_the_kernel():
    policy, controller = load("drive-ncp"), CController(load("drive-ncp"), flags=QUICK)
    frames = draw_observations(policy, 6)
    for frame, dt_s in zip(frames, draw_times(policy.circuit.frame_s, 6), strict=True):
        wanted = policy.act(frame, float(dt_s))
        np.testing.assert_allclose(controller.act(frame, float(dt_s)), wanted, atol=2e-6)


@pytest.mark.parametrize("head", ["light", "paper"])
@pytest.mark.parametrize("shape", [(33, 47, 1), (24, 61, 4)])
def test_heads_take_frames_of_any_shape(head, shape):
    policy = FramesPolicy(LTC(NCP19), head=head, frame_shape=shape).eval()
    frames, dt_s = draw_observations(policy, 3), draw_times(1 / 30, 3)
    wanted, state = expected(policy, frames, dt_s, "float32")
    controller = CController(policy, flags=QUICK)
    actions = [controller.act(f, float(t)) for f, t in zip(frames, dt_s, strict=True)]
    np.testing.assert_allclose(actions, wanted, atol=3e-6)
    np.testing.assert_allclose(controller.state, state, atol=3e-6)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_frame_and_numbers_are_a_struct(weights, tmp_path):
    wiring = auto_ncp(32 + 2, 10, 1)
    policy = FramesPolicy(LTC(wiring), head="light", frame_shape=(33, 47, 3), numbers=2).eval()
    policy.fit_scale(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))
    policy.contract = Contract(
        observation=DictContract(
            parts={
                "speed": VectorContract(entries=(Entry(name="speed", unit="m/s"),)),
                "camera": FramesContract(shape=(33, 47, 3)),
                "load": VectorContract(entries=(Entry(name="load", unit="kg"),)),
            }
        ),
        action=(ActionContract(name="steering"),),
        frame_s=1 / 30,
    )
    written = to_c(policy, name="left", head_weights=weights)
    assert HOST.run(HOST.build(written, tmp_path)).passed
    assert "struct left_observation {\n    const uint8_t *frame;\n" in written.header
    assert '#define LEFT_OBSERVATION_NAMES {"speed", "load"}' in written.header
    assert "FRAME_HEIGHT 33" in written.header and 'COLOUR "RGB"' in written.header

    records, dt_s = draw_observations(policy, 5), draw_times(1 / 30, 5)
    assert numbers_in(records, (33, 47, 3)).std(axis=0).min() > 0.5
    wanted, state = expected(policy, records, dt_s, weights)
    controller = CController(policy, head_weights=weights, flags=QUICK)
    tolerance = TOLERANCES[weights]
    actions = [controller.act(seen, float(t)) for seen, t in zip(records, dt_s, strict=True)]
    np.testing.assert_allclose(actions, wanted, atol=tolerance)
    np.testing.assert_allclose(controller.state, state, atol=tolerance)
    kept = controller.state.copy()
    broken = pack(
        {"speed": np.nan, "load": 1.0, "camera": frames_in(records[0], (33, 47, 3))},
        policy.contract.observation,
    )
    with pytest.raises(ValueError, match="must be finite numbers"):
        controller.act(broken)
    np.testing.assert_array_equal(controller.state, kept)


def test_flat_frames_are_seen_as_zeros():
    policy = load("drive-ncp")
    controller = CController(policy, flags=QUICK)
    for value in (0, 77, 255):
        frame = np.full((78, 200, 3), value, np.uint8)
        policy.reset(), controller.reset()
        np.testing.assert_allclose(controller.act(frame), policy.act(frame), atol=1e-6)


@pytest.mark.slow
def test_blocks_of_any_width_give_the_same_bits():
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=(30, 41, 3)).eval()
    frames = draw_observations(policy, 2)
    for weights in ("float32", "int8"):
        narrow = CController(policy, head_weights=weights, flags=("-O1",))
        wide = CController(policy, head_weights=weights)
        for frame in frames:
            narrow.act(frame), wide.act(frame)
        eights = CController(policy, head_weights=weights, flags=("-O2", "-DWIDE_REGISTERS"))
        for frame in frames:
            eights.act(frame)
        assert narrow.state.tobytes() == wide.state.tobytes() == eights.state.tobytes()


def test_a_head_may_have_any_number_of_channels():
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=(30, 41, 3)).eval()
    first, second = (
        torch.nn.Conv2d(3, 5, 3, stride=2, padding=1),
        torch.nn.Conv2d(5, 8, 3, stride=2),
    )
    policy.head.convolutions = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU())
    policy.head.weight = torch.nn.Parameter(torch.randn(8, 7 * 10, 4) / 10)
    frame = draw_observations(policy, 2)[1]
    for weights, tolerance in (("float32", 2e-6), ("int8", 0.05)):
        controller = CController(policy, head_weights=weights, flags=QUICK)
        policy.reset()
        np.testing.assert_allclose(controller.act(frame), policy.act(frame), atol=tolerance)


def test_int8_weights_are_whole_multiples_of_each_output_s_scale():
    weight = (
        torch.randn(6, 3, 5, 5)
        * torch.tensor([1.0, 1e-3, 10.0, 0.0, 1.0, 1.0])[:, None, None, None]
    )
    whole, scales = to_int8(weight)
    assert whole.dtype == np.int8 and np.abs(whole).max() == 127
    error = np.abs(whole * scales[:, None, None, None] - weight.numpy())
    assert (error <= 0.5001 * scales[:, None, None, None]).all()


def test_a_head_of_int8_weights_is_the_head_with_the_weights_these_stand_for():
    policy = load("drive-ncp")
    rounded = copy.deepcopy(policy)
    dequantize(rounded)
    controller = CController(policy, head_weights="int8", flags=QUICK)
    differences, effects = [], []
    for frame in draw_observations(policy, 4):
        action = controller.act(frame)
        differences.append(abs(action - rounded.act(frame)).max())
        effects.append(abs(action - policy.act(frame)).max())
    assert max(differences) < 2e-4  # of activations in 14 bits
    assert max(effects) > 2 * max(differences)  # the weights' rounding is what is seen


def test_the_self_test_of_int8_weights_does_not_allow_for_their_rounding(tmp_path):
    policy = load("road-ltc")
    observations, dt_s = draw_observations(policy, 16), draw_times(policy.circuit.frame_s, 16)
    actions = [expected(policy, observations, dt_s, weights)[0] for weights in TOLERANCES]
    assert np.abs(actions[0] - actions[1]).max() > 0.01
    controller = to_c(policy, head_weights="int8")
    assert f"#define SELF_TEST_TOLERANCE {TOLERANCES['int8']}f\n" in controller.test_header
    assert run(controller, tmp_path).returncode == 0
    right = "action[k] = clip(output[k], 1.0f);"
    wrong = controller.source.replace(right, "action[k] = clip(output[k] + 0.01f * k, 1.0f);")
    assert wrong != controller.source
    assert run(replace(controller, source=wrong), tmp_path).stdout.startswith("fail: 16 steps")


def test_bad_input_is_refused_and_changes_nothing():
    policy = small_walker()
    controller = CController(policy, flags=QUICK)
    controller.act(np.ones(5), 0.1)
    before = controller.state.copy()
    for observation, dt_s in (
        (np.array([1.0, np.nan, 1.0, 1.0, 1.0]), 0.1),
        (np.array([1.0, 1.0, np.inf, 1.0, 1.0]), 0.1),
        (np.ones(5), -0.1),
        (np.ones(5), np.nan),
        (np.ones(5), np.inf),
    ):
        with pytest.raises(ValueError, match="must be finite numbers, and a time >= 0, got"):
            controller.act(observation, dt_s)
        np.testing.assert_array_equal(controller.state, before)
    with pytest.raises(ValueError, match=r"`observation` must be float32 of shape \(5,\)"):
        controller.act(np.ones(6))
    controller.reset()
    np.testing.assert_array_equal(controller.state, 0.0)


def test_a_state_that_is_no_longer_finite_is_forgotten():
    policy = VectorPolicy(Feedforward(2, 3, 1), observation_size=2, observation_limit=np.inf)
    with torch.no_grad():
        policy.circuit.cell.hidden[0].weight.fill_(10.0)
    controller = CController(policy, flags=QUICK)
    with pytest.raises(ValueError, match="such that the state stays finite"):
        controller.act(np.array([3e38, 3e38]))
    np.testing.assert_array_equal(controller.state, 0.0)


def test_weights_that_single_precision_cannot_hold_are_refused():
    policy = VectorPolicy(Feedforward(2, 3, 1), observation_size=2).double()
    with torch.no_grad():
        policy.circuit.cell.output.bias[0] = 1e300
    with pytest.raises(ValueError, match=r"finite in single precision, got 1e\+300"):
        to_c(policy)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"name": "int"}, "`name` must be small letters, digits and underscores, and no word of C"),
        ({"name": "a b"}, "`name` must be small letters"),
        ({"name": "stdint"}, "no word of C, .* their headers"),
        ({"name": "class"}, "no word of C, C"),
        ({"name": "main"}, "or the exported code"),
        ({"name": "car_test"}, "must not end in _test or _pipe, got 'car_test'"),
        ({"head_weights": "int4"}, "`head_weights` must be one of .* Did you mean 'int8'"),
        ({"head_weights": "int8"}, "`head_weights` must be 'float32' for a policy without a conv"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, rule):
    with pytest.raises(ValueError, match=rule):
        to_c(small_walker(), **settings)


def test_a_head_of_other_layers_is_refused():
    policy = FramesPolicy(LTC(NCP19), head="light")
    policy.head.convolutions[1] = torch.nn.Tanh()
    with pytest.raises(ValueError, match="`head` must be a ConvHead of square convolutions"):
        to_c(policy)


def test_the_self_test_fails_when_a_weight_is_wrong(tmp_path):
    controller = to_c(load("walker2d-ltc"))
    motor = re.search(r"motor_scale\[6\] = \{\n    \{(.*?)f,", controller.source)
    assert motor is not None
    wrong = controller.source[: motor.start(1)] + "1e-3" + controller.source[motor.end(1) :]
    done = run(replace(controller, source=wrong), tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("fail: 16 steps")


def test_half_precision_is_exported_as_its_float32_values(tmp_path):
    policy = small_walker().to(torch.bfloat16)
    result = HOST.run(HOST.build(to_c(policy), tmp_path))
    assert result.passed
