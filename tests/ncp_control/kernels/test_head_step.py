"""One frame through a conv head: torch's own result, with weights never stale."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import LSTM, LTC, NCP19, FramesPolicy
from ncp_control.kernels import build, head_step
from ncp_control.kernels.head_step import HeadStep
from ncp_control.kernels.native import Library
from ncp_control.policy.heads import Head, make_head, register_head

SHAPES = [(78, 200, 3), (33, 47, 1), (24, 61, 4), (9, 9, 3)]


def draw(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@torch.no_grad()
def by_torch(head, frame):
    return head(torch.from_numpy(frame)[None])[0].numpy()


def light(shape=(33, 47, 3), cell=None):
    cell = LTC(NCP19) if cell is None else cell
    return FramesPolicy(cell, head="light", frame_shape=shape).eval()


def steps(policy):
    """Whether `act` used the kernel of the head."""
    policy.act(draw(policy.frame_shape))
    return policy._head_step is not None


@pytest.mark.parametrize("name", ["light", "paper"])
@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_those_of_torch(name, shape):
    head = make_head(name, shape)
    step = HeadStep(head)
    for seed in range(2):
        frame = draw(shape, seed)
        np.testing.assert_allclose(step(frame), by_torch(head, frame), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("-march=x86-64",), ("-march=x86-64-v3",)])
def test_registers_of_any_width_give_the_same_features(flags, monkeypatch):
    compiled = Library(build.load_library(32, flags))
    monkeypatch.setattr(head_step, "require_library", lambda dtype: compiled)
    for name in ("light", "paper"):
        head, frame = make_head(name, (33, 47, 3)), draw((33, 47, 3))
        np.testing.assert_allclose(HeadStep(head)(frame), by_torch(head, frame), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_frame_is_seen_as_zeros(value):
    head = make_head("light", (30, 41, 3))
    found = HeadStep(head)(np.full((30, 41, 3), value, np.uint8))
    torch.nn.init.zeros_(head.convolutions[0].weight)
    np.testing.assert_allclose(found, by_torch(head, draw((30, 41, 3))), rtol=0, atol=1e-6)


def train(head):
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    head(torch.from_numpy(draw(head.frame_shape))[None]).sum().backward()
    optimizer.step()


def load(head):
    head.load_state_dict(make_head("light", head.frame_shape).state_dict())


def assign(head):
    head.load_state_dict(make_head("light", head.frame_shape).state_dict(), assign=True)


def write_data(head):
    head.convolutions[2].weight.data.mul_(1.5)
    head.bias.data.add_(0.2)


def exchange_layers(head):
    head.convolutions = make_head("light", head.frame_shape).convolutions


def exchange_tensor(head):
    head.convolutions[0].bias = nn.Parameter(torch.ones(16))


@pytest.mark.parametrize(
    "change", [train, load, assign, write_data, exchange_layers, exchange_tensor]
)
def test_a_change_of_weights_takes_effect_at_once(change):
    policy, frame = light(), draw((33, 47, 3))
    before = policy.act(frame, 0.1)
    change(policy.head)
    policy.reset()
    found = policy.act(frame, 0.1)
    assert policy._head_step is not None
    np.testing.assert_allclose(
        policy._head_step(frame), by_torch(policy.head, frame), rtol=0, atol=1e-6
    )
    assert not np.array_equal(found, before)


def test_a_head_that_is_exchanged_is_seen():
    policy, frame = light(), draw((33, 47, 3))
    policy.act(frame)
    policy.head = make_head("paper", (33, 47, 3))
    policy.act(frame)
    assert policy._head_step.head is policy.head


def test_a_hook_on_a_layer_is_still_called():
    policy, frame, seen = light(), draw((33, 47, 3)), []
    assert steps(policy)
    handle = policy.head.convolutions[0].register_forward_hook(lambda *_: seen.append(1))
    policy.act(frame)
    assert seen == [1]
    handle.remove()
    assert steps(policy) and seen == [1]


def test_what_no_kernel_runs(monkeypatch, own_names):
    class Mine(Head):
        def __init__(self, frame_shape):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(32))

        def forward(self, frames):
            return frames.flatten(1)[:, :32].float() * self.scale

    register_head("mine", Mine)
    assert not steps(FramesPolicy(LTC(NCP19), head="mine", frame_shape=(33, 47, 3)))
    assert not steps(light().double())
    assert not steps(light().to(torch.bfloat16))
    odd = light()
    odd.head.convolutions[1] = nn.Tanh()
    assert not steps(odd)
    pruned = light()
    nn.utils.parametrizations.weight_norm(pruned.head.convolutions[0])
    assert not steps(pruned)
    monkeypatch.setenv("NCP_CONTROL_KERNELS", "reference")
    assert not steps(light())


def test_a_policy_that_perceives_in_its_own_way_keeps_it():
    class Bright(FramesPolicy):
        def perceive(self, observation):
            return super().perceive(observation) + 1.0

    policy = Bright(LTC(NCP19), head="light", frame_shape=(33, 47, 3))
    assert not steps(policy)


@pytest.mark.parametrize("cell", [lambda: LTC(NCP19), lambda: LSTM(32, 8, 2)])
def test_acts_are_those_of_the_sequence(cell):
    policy = light(cell=cell())
    frames = np.stack([draw((33, 47, 3), seed) for seed in range(4)])
    with torch.no_grad():
        wanted = policy(torch.from_numpy(frames)[None], dt_s=0.1)[0][0].clamp(-1, 1).numpy()
    found = np.stack([policy.act(frame, 0.1) for frame in frames])
    assert policy._head_step is not None
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_a_frame_in_pieces_is_read_as_one():
    policy, wide = light(), draw((33, 94, 3))
    found = policy.act(wide[:, ::2], 0.1)
    policy.reset()
    np.testing.assert_array_equal(found, policy.act(wide[:, ::2].copy(), 0.1))


def test_weights_that_are_not_finite_are_told():
    policy = light()
    with torch.no_grad():
        policy.head.convolutions[0].weight[3] = torch.nan
    with pytest.raises(ValueError, match="`observation` must give finite features"):
        policy.act(draw((33, 47, 3)))


def test_a_frame_of_another_kind_is_refused():
    step = HeadStep(make_head("light", (33, 47, 3)))
    for frame in (draw((33, 48, 3)), np.zeros((33, 47, 3), np.float32)):
        with pytest.raises(ValueError, match=r"`frame` must be uint8 of shape \(33, 47, 3\), got"):
            step(frame)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_its_own_way(duplicate):
    policy, frame = light(), draw((33, 47, 3))
    policy.act(frame)
    twin = duplicate(policy)
    write_data(twin.head)
    policy.reset(), twin.reset()
    assert not np.array_equal(policy.act(frame, 0.1), twin.act(frame, 0.1))
    assert twin._head_step.head is twin.head
