"""ONNX models do what plain torch does, and tell what they are."""

import copy
import hashlib
import importlib
import json

import numpy as np
import pytest
import torch

from ncp_control import (
    LTC,
    NCP19,
    CfC,
    Circuit,
    Feedforward,
    FramesPolicy,
    VectorPolicy,
    fully_connected,
    load,
)
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.self_test import draw_observations, draw_times
from ncp_control.deploy.onnx import OnnxController, to_onnx
from ncp_control.deploy.onnx.check import check_model, plain_step
from ncp_control.deploy.onnx.controller import open_session
from ncp_control.policy import shipped_policies
from tests.ncp_control.deploy.test_c_cells import EXPORTED, QUICK
from tests.ncp_control.every_cell import random_ltc

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ONE_STEP = 1e-6
"""Largest difference from double precision. Where plain torch in single precision differs by more
than a third of it, three times that: slopes of up to 28 in the shipped walkers amplify rounding."""
OF_SHIPPED = 30
"""Steps of a shipped policy: in ten, the rounding of plain torch may be small by luck."""


def test_a_frame_and_numbers_are_two_inputs():
    torch.manual_seed(0)
    cell = LTC(fully_connected(34, 8, 1, seed=0))
    policy = FramesPolicy(cell, head="light", frame_shape=(33, 47, 3), numbers=2).eval()
    policy.fit_scale(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))
    model = to_onnx(policy)
    check_model(policy, model.content)
    inputs = {one.name: one.shape[1:] for one in open_session(model.content).get_inputs()}
    assert inputs["observation"] == [33, 47, 3] and inputs["numbers"] == [2]
    controller = OnnxController(policy)
    records = draw_observations(policy, 4)
    for record in records:
        np.testing.assert_allclose(controller.act(record), policy.act(record), atol=1e-6)
    broken = records[0].copy()
    broken[-4:] = np.array([np.nan], np.float32).view(np.uint8)
    kept = controller.state.copy()
    with pytest.raises(ValueError, match="must be finite numbers"):
        controller.act(broken)
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        controller.act(records[0][:-1])
    np.testing.assert_array_equal(controller.state, kept)


def compare(policy, ways, num_steps, seed=0):
    """Return the largest differences of one step from plain torch in double precision.

    Each step begins at the state that double precision has reached.

    Args:
        policy: The policy.
        ways: Controllers by name, with `act` and `state`.
        num_steps: Steps.
        seed: Of the observations and times.

    Returns:
        The largest difference of action and state by name; also of the kernel and of plain torch.
    """
    exact = copy.deepcopy(policy).double()
    observations = draw_observations(policy, num_steps, seed)
    dt_s = draw_times(policy.circuit.frame_s, num_steps, seed)
    state = np.zeros((1, policy.circuit.cell.state_size), np.float32)
    worst = {}

    def note(name, action, after):
        for found, wanted in ((action, wanted_action), (after, wanted_state)):
            share = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
            worst[name] = max(worst.get(name, 0.0), float(share.max()))

    for k in range(num_steps):
        given = observations[k : k + 1], state, dt_s[k : k + 1]
        wanted_action, wanted_state = plain_step(exact, *given)
        note("plain torch", *plain_step(policy, *given))
        with torch.no_grad():
            seen, before = torch.from_numpy(given[0])[None], torch.from_numpy(state)
            action, after = policy(seen, before, dt_s=float(dt_s[k]))
        note("kernel", policy.limit(action[0]).numpy(), after.numpy())
        for name, controller in ways.items():
            controller.state[:] = state[0]
            action = controller.act(observations[k], float(dt_s[k]))
            note(name, action[None], controller.state[None])
        state = wanted_state.astype(np.float32)
    return worst


def check(worst):
    limit = max(ONE_STEP, 3.0 * worst["plain torch"])
    assert max(worst.values()) <= limit, worst


@pytest.mark.parametrize("name", EXPORTED)
def test_a_step_is_that_of_plain_torch(name, policy_on):
    policy = policy_on(EXPORTED[name]())
    worst = compare(policy, {"onnx": OnnxController(policy)}, 20)
    check({key: worst[key] for key in ("onnx", "plain torch")})


def test_what_c_does_not_take_may_be_taken(policy_on):
    policy = policy_on(CfC(8, 6, 2, activation="gelu"))
    worst = compare(policy, {"onnx": OnnxController(policy)}, 10)
    check({key: worst[key] for key in ("onnx", "plain torch")})


def test_half_precision_is_exported_as_its_float32_values(policy_on):
    policy = policy_on(LTC(NCP19)).to(torch.bfloat16)
    assert check_model(policy, to_onnx(policy).content) < 1e-6


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_act_the_same(name):
    policy = load(name)
    check(compare(policy, {"onnx": OnnxController(policy)}, OF_SHIPPED))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_ways_take_the_same_step_on_random_wirings(seed, policy_on):
    policy = policy_on(random_ltc(seed))
    ways = {"onnx": OnnxController(policy), "c": CController(policy, flags=QUICK)}
    check(compare(policy, ways, 20))


@pytest.mark.slow
def test_10000_steps_on_50_random_wirings_and_the_drift_over_1000(policy_on):
    worst, drifts = {}, []
    for k in range(50):
        torch.manual_seed(k)
        policy = policy_on(random_ltc(k))
        ways = {"onnx": OnnxController(policy), "c": CController(policy, flags=QUICK)}
        found = compare(policy, ways, 200, seed=k)
        worst = {name: max(worst.get(name, 0.0), value) for name, value in found.items()}
        if k < 10:
            drifts.append(drift(policy, ways, 1000))
    for name in shipped_policies():
        policy = load(name)
        ways = {"onnx": OnnxController(policy), "c": CController(policy, flags=QUICK)}
        check(compare(policy, ways, OF_SHIPPED))
    print("largest difference of a step:", {name: f"{value:.1e}" for name, value in worst.items()})
    print("after 1,000 steps:", {name: f"{max(d[name] for d in drifts):.1e}" for name in drifts[0]})
    assert max(worst.values()) <= ONE_STEP
    assert max(max(d.values()) for d in drifts) < 1e-5


def drift(policy, ways, num_steps):
    """Let all run freely on the same observations; return the largest difference of actions."""
    exact = copy.deepcopy(policy).double()
    state, worst = np.zeros((1, policy.circuit.cell.state_size)), dict.fromkeys(ways, 0.0)
    for controller in ways.values():
        controller.reset()
    observations = draw_observations(policy, num_steps)
    dt_s = draw_times(policy.circuit.frame_s, num_steps)
    for k in range(num_steps):
        wanted, state = plain_step(exact, observations[k : k + 1], state, dt_s[k : k + 1])
        for name, controller in ways.items():
            action = controller.act(observations[k], float(dt_s[k]))
            worst[name] = max(worst[name], float(np.abs(action - wanted[0]).max()))
    return worst


@pytest.mark.parametrize("head", ["light", "paper"])
@pytest.mark.parametrize("shape", [(33, 47, 1), (24, 61, 4)])
def test_heads_take_frames_of_any_shape(head, shape):
    policy = FramesPolicy(LTC(NCP19), head=head, frame_shape=shape).eval()
    check(compare(policy, {"onnx": OnnxController(policy)}, 3))


def test_a_wide_wiring_is_summed_in_parts(policy_on):
    policy = policy_on(LTC(fully_connected(5, 140, 2), unfolds=2))
    check(compare(policy, {"onnx": OnnxController(policy)}, 3))


def test_dt_0_changes_no_bit_and_the_longest_time_leads_to_rest(policy_on):
    for integrator in ("semi_implicit_euler", "exponential_euler", "layered_midpoint"):
        policy = policy_on(LTC(NCP19, integrator=integrator))
        controller = OnnxController(policy)
        observation = draw_observations(policy, 1)[0]
        controller.act(observation, 0.1)
        before = controller.state.copy()
        controller.act(observation + 1, 0.0)
        np.testing.assert_array_equal(controller.state, before)
        controller.reset()
        action = controller.act(observation, 3e38)
        np.testing.assert_allclose(action, policy.act(observation, 3e38), atol=2e-6)


def test_a_batch_has_an_elapsed_time_for_each_of_its_samples(policy_on):
    policy = policy_on(CfC(4, 8, 2))
    session = open_session(to_onnx(policy).content)
    observations = draw_observations(policy, 5)
    dt_s = draw_times(1 / 30, 5)
    states = np.linspace(-1, 1, 40, dtype=np.float32).reshape(5, 8)
    whole = session.run(None, {"observation": observations, "state": states, "dt_s": dt_s})
    for k in range(5):
        here = slice(k, k + 1)
        feed = {"observation": observations[here], "state": states[here], "dt_s": dt_s[here]}
        for found, part in zip(session.run(None, feed), whole, strict=True):
            np.testing.assert_allclose(found, part[here], atol=1e-6)


def test_a_model_used_without_its_controller_takes_a_negative_time_for_0(policy_on):
    policy = policy_on(LTC(NCP19, integrator="exponential_euler"))
    session = open_session(to_onnx(policy).content)
    feed = {"observation": draw_observations(policy, 1), "state": np.ones((1, 19), np.float32)}
    _, state = session.run(None, {**feed, "dt_s": np.float32([-1.0])})
    np.testing.assert_array_equal(state, feed["state"])


def test_choices_are_those_of_the_policy():
    policy = VectorPolicy(CfC(4, 8, 5), observation_size=4, choices=(3, 2)).eval()
    controller = OnnxController(policy)
    for observation in draw_observations(policy, 20):
        found, wanted = controller.act(observation, 0.1), policy.act(observation, 0.1)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    assert check_model(policy, to_onnx(policy).content) < 1e-6


def test_the_file_tells_what_it_is(tmp_path):
    policy = load("walker2d-ltc")
    (path,) = to_onnx(policy, name="walker").write(tmp_path)
    assert path == tmp_path / "walker.onnx"
    model = onnx.load(path)
    properties = {p.key: p.value for p in model.metadata_props}
    weights = (shipped_policies()["walker2d-ltc"] / "weights.safetensors").read_bytes()
    assert properties["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert json.loads(properties["contract"]) == policy.contract.to_json()
    assert json.loads(properties["neuron_names"]) == policy.circuit.cell.neuron_names
    assert "thigh torque in [-1, 1]" in model.doc_string
    assert [x.name for x in model.graph.input] == ["observation", "state", "dt_s"]
    assert [x.name for x in model.graph.output] == ["action", "next_state"]
    assert all(x.doc_string for x in (*model.graph.input, *model.graph.output))
    assert to_onnx(policy, name="walker").content == path.read_bytes()
    observation = draw_observations(policy, 1)[0]
    np.testing.assert_array_equal(
        OnnxController(path).act(observation), OnnxController(policy).act(observation)
    )


def test_a_layered_circuit_is_a_small_graph(policy_on):
    assert to_onnx(load("walker2d-ltc")).num_nodes < 200  # a trace of it has 790
    one = to_onnx(policy_on(LTC(NCP19, unfolds=1))).num_nodes
    assert to_onnx(policy_on(LTC(NCP19, unfolds=5))).num_nodes - one == 4 * 13


def test_bad_input_is_refused_and_changes_nothing():
    policy = VectorPolicy(LTC(NCP19), observation_size=5, encoder=(7, 32), squash="tanh").eval()
    controller = OnnxController(policy)
    controller.act(np.ones(5), 0.1)
    before = controller.state.copy()
    for observation, dt_s in (
        (np.array([1.0, np.nan, 1.0, 1.0, 1.0]), 0.1),
        (np.array([1.0, 1.0, 1e39, 1.0, 1.0]), 0.1),
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
    controller = OnnxController(policy)
    with pytest.raises(ValueError, match="such that the state stays finite"):
        controller.act(np.array([3e38, 3e38]))
    np.testing.assert_array_equal(controller.state, 0.0)


class Mine(LTC):
    """A cell of a user's own."""


def without_end():
    policy = VectorPolicy(CfC(4, 4, 1), observation_size=4)
    with torch.no_grad():
        policy.circuit.cell.input_map.weight[0, 0] = torch.nan
    return policy


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LTC(NCP19, integrator="rk4"), "`integrator` must not be 'rk4' in ONNX"),
        (lambda: Mine(NCP19), r"`cell` must be one that has an ONNX graph .*, got 'Mine'"),
        (lambda: LTC(NCP19, unfolds=10_000), "`policy` must take at most 20000 operations"),
        (without_end, "`policy` must have weights that are finite in single precision, got nan"),
    ],
)
def test_what_cannot_be_exported_gets_one_sentence(make, sentence):
    thing = make()
    if not isinstance(thing, VectorPolicy):
        thing = VectorPolicy(thing, observation_size=thing.input_size)
    with pytest.raises(ValueError, match=sentence):
        to_onnx(thing)


def test_other_policies_heads_and_names_get_one_sentence(flat_policy):
    with pytest.raises(ValueError, match="`policy` must be a FramesPolicy or a VectorPolicy"):
        to_onnx(flat_policy(Circuit(LTC(NCP19))))
    policy = FramesPolicy(LTC(NCP19), head="light")
    policy.head.convolutions[1] = torch.nn.Tanh()
    with pytest.raises(ValueError, match="`head` must be a ConvHead of square convolutions"):
        to_onnx(policy)
    with pytest.raises(ValueError, match="`name` must be small letters"):
        to_onnx(load("walker2d-ltc"), name="../walker")


def test_a_model_that_acts_otherwise_is_found(policy_on):
    policy = policy_on(LTC(NCP19))
    content = to_onnx(policy).content
    assert check_model(policy, content) < 1e-6
    with torch.no_grad():
        policy.circuit.cell.threshold[100] += 0.01
    with pytest.raises(ValueError, match="`policy` must act in ONNX as it does here, got actions"):
        check_model(policy, content)


def test_files_of_others_get_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="No ONNX model: .*none.onnx"):
        OnnxController(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="`policy` must be an ONNX model that can be run here"):
        OnnxController(tmp_path / "bad.onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, [1]) for name in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "other", values[:1], values[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "other.onnx")
    with pytest.raises(
        ValueError, match="must be a model that ncp-control exported, got one whose"
    ):
        OnnxController(tmp_path / "other.onnx")


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"Run `pip install ncp-control\[onnx\]`"):
        to_onnx(load("walker2d-ltc"))
