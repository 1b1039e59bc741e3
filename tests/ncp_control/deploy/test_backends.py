"""What a policy's arithmetic runs on, by name."""

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, FramesPolicy, VectorPolicy, load
from ncp_control.deploy.backends import ControllerPilot, make_controller
from ncp_control.deploy.onnx import to_onnx
from ncp_control.records import join


@pytest.fixture
def policy():
    torch.manual_seed(0)
    return VectorPolicy(LTC(NCP19), observation_size=32).eval()


def test_every_back_end_acts_as_the_policy(policy, tmp_path):
    (path,) = to_onnx(policy).write(tmp_path)
    seen = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)
    wanted = [policy.act(one, 0.1) for one in seen]
    for backend in ("torch", "c", "onnx", f"onnx:{path}"):
        controller = make_controller(policy, backend)
        controller.reset()
        np.testing.assert_allclose([controller.act(one, 0.1) for one in seen], wanted, atol=2e-6)


@pytest.mark.parametrize("backend", ["torch", "c", "onnx"])
def test_parts_of_an_observation_may_be_given_by_name(backend):
    policy = load("road-ltc")
    frame = np.random.default_rng(0).integers(0, 256, (78, 200, 3), dtype=np.uint8)
    controller = make_controller(policy, backend)
    controller.reset()
    named = controller.act({"frame": frame, "speed": 4.0}, 0.1)
    controller.reset()
    np.testing.assert_array_equal(named, controller.act(join(frame, np.float32([4.0])), 0.1))
    with pytest.raises(ValueError, match=r"must have the parts \['frame', 'speed'\]"):
        controller.act({"frame": frame}, 0.1)


def test_words_behind_the_colon_choose_the_weights_of_the_head():
    torch.manual_seed(0)
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=(33, 47, 1)).eval()
    frame = np.random.default_rng(0).integers(0, 256, (33, 47, 1), dtype=np.uint8)
    exact, whole = (make_controller(policy, one).act(frame, 0.1) for one in ("c", "c:int8"))
    assert 0.0 < abs(exact - whole).max() < 0.1


def test_a_model_of_other_weights_is_refused(policy, tmp_path):
    other = VectorPolicy(LTC(NCP19), observation_size=32)
    (path,) = to_onnx(other).write(tmp_path)
    with pytest.raises(ValueError, match="must be a model of this policy, got .* other weights"):
        make_controller(policy, f"onnx:{path}")


@pytest.mark.parametrize(
    ("backend", "rule"),
    [
        ("torch:x", "`backend` must be 'torch' alone, got 'torch:x'"),
        ("tourch", "`backend` must be one of .* Did you mean 'torch'"),
        ("c:int4", "`head_weights` must be one of"),
        ("c:int8", "`head_weights` must be 'float32' for a policy without a conv head"),
    ],
)
def test_back_ends_that_do_not_exist_are_refused(policy, backend, rule):
    with pytest.raises(ValueError, match=rule):
        make_controller(policy, backend)


def test_a_controller_forgets_where_a_world_begins(policy):
    pilot = ControllerPilot(make_controller(policy, "c"))
    seen, dt_s = np.ones((1, 32), np.float32), np.full(1, 0.1, np.float32)
    first, second, again = (pilot(seen, [], dt_s, np.array([r])) for r in (True, False, True))
    assert first.shape == (1, 1) and first != second
    np.testing.assert_array_equal(first, again)
