"""Policies whose actions are choices, as C and as ONNX: numbers and scores of what is chosen."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ncp_control import GRU, LTC, Contract, FramesPolicy, VectorPolicy, auto_ncp
from ncp_control.contract import ActionContract, Entry, VectorContract
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.self_test import draw_observations, draw_times
from ncp_control.deploy.c.targets import HOST
from ncp_control.deploy.onnx import OnnxController
from ncp_control.policy.choices import choose

QUICK = ("-O1",)
STEPS = 200


def pole(choices=(2,)):
    """A policy like that of CartPole, whose choices change often."""
    torch.manual_seed(0)
    cell = LTC(auto_ncp(4, 16 + sum(choices), sum(choices)), frame_s=0.02)
    policy = VectorPolicy(cell, observation_size=4, choices=choices).eval()
    with torch.no_grad():
        policy.observation_std.copy_(torch.tensor([2.4, 2.0, 0.2, 2.0]))
        cell.output_scale.fill_(30.0)
        cell.output_offset.copy_(-policy(2.0 * torch.randn(1, 100, 4))[0].mean(dim=(0, 1)))
    policy.contract = Contract(
        observation=VectorContract(entries=tuple(Entry(name=f"x{k}") for k in range(4))),
        action=tuple(
            ActionContract(name=f"entry {k}", choices=tuple(f"{k}: {i}" for i in range(count)))
            for k, count in enumerate(choices)
        ),
        frame_s=0.02,
    )
    return policy


def watched():
    torch.manual_seed(0)
    cell = GRU(32, 6, 5, frame_s=0.1)
    return FramesPolicy(cell, head="light", frame_shape=(20, 24, 1), choices=(2, 3)).eval()


@torch.no_grad()
def scores_of(policy, seen, dt_s):
    times = torch.from_numpy(dt_s)[None]
    return policy(torch.from_numpy(seen)[None], dt_s=times)[0][0].numpy()


@pytest.mark.parametrize("make", [pole, lambda: pole((3, 2, 4)), watched], ids=["1", "3", "frames"])
def test_c_and_onnx_choose_as_the_policy_does(make):
    policy = make()
    steps = 20 if make is watched else STEPS
    seen, dt_s = draw_observations(policy, steps), draw_times(policy.circuit.frame_s, steps)
    wanted = scores_of(policy, seen, dt_s)
    c, onnx = CController(policy, flags=QUICK), OnnxController(policy)
    chosen, scores = [], []
    for one, elapsed_s in zip(seen, dt_s, strict=True):
        chosen.append(c.act(one, float(elapsed_s)))
        scores.append(c.scores())
        np.testing.assert_array_equal(chosen[-1], onnx.act(one, float(elapsed_s)))
    size = max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(scores, wanted, atol=2e-6 * size)
    np.testing.assert_array_equal(chosen, choose(np.array(scores), policy.choices))
    np.testing.assert_array_equal(chosen, choose(wanted, policy.choices))
    assert chosen[0].dtype == np.int64
    if make is not watched:
        assert all(len(set(column)) > 1 for column in np.array(chosen).T.tolist())


def test_of_equal_scores_the_first_is_chosen():
    policy = pole((3, 2))
    with torch.no_grad():
        policy.circuit.cell.output_scale.zero_()
        policy.circuit.cell.output_offset.copy_(torch.tensor([-1.0, 2.0, 2.0, 0.5, 0.5]))
    for act in (policy.act, CController(policy, flags=QUICK).act, OnnxController(policy).act):
        np.testing.assert_array_equal(act(np.ones(4, np.float32)), [1, 0])


def test_the_self_test_passes_and_notices_a_wrong_choice(tmp_path):
    controller = to_c(pole((3, 2)))
    assert HOST.run(HOST.build(controller, tmp_path)).passed
    worst = controller.source.replace("scores[i] > scores[best]", "scores[i] < scores[best]")
    assert worst != controller.source
    assert not HOST.run(HOST.build(replace(controller, source=worst), tmp_path)).passed


def test_the_header_names_entries_and_choices():
    header = to_c(pole((3, 2)), name="pole").header
    assert "entry 0: one of 0: 0, 0: 1, 0: 2" in header
    assert "#define POLE_CHOICES {3, 2}\n#define POLE_SCORES 5\n" in header
    assert '#define POLE_CHOICE_NAMES {"0: 0", "0: 1", "0: 2", "1: 0", "1: 1"}' in header
    assert "float dt_s, int32_t *action);" in header
    assert not re.search("POLE_(ACTION_LOWEST|CERTIFIED)", header)
    assert "not certified" not in header


def test_numbers_have_no_scores():
    controller = CController(VectorPolicy(GRU(3, 4, 1), observation_size=3), flags=QUICK)
    with pytest.raises(ValueError, match="must command choices to have scores"):
        controller.scores()
