"""Policies whose actions are choices: one output a choice, the best one of each entry is taken."""

import json

import numpy as np
import pytest
import torch

from ncp_control import LTC, Policy, auto_ncp
from ncp_control.acting.closed_loop import PolicyPilot
from ncp_control.acting.recorder import run_episodes
from ncp_control.audit.ablation import ablation_effects
from ncp_control.audit.robustness import fault_responses
from ncp_control.audit.saliency import saliency
from ncp_control.cells import GRU
from ncp_control.contract import ActionContract, Contract, FramesContract, VectorContract
from ncp_control.contract_parts import Entry
from ncp_control.policy import FramesPolicy, VectorPolicy
from ncp_control.worlds import find_world

CHOICES = (3, 2, 4)
FRAME = (20, 24, 1)


def numbers_policy() -> VectorPolicy:
    torch.manual_seed(0)
    policy = VectorPolicy(LTC(auto_ncp(5, 20, 9)), observation_size=5, choices=CHOICES)
    cell = policy.circuit.cell
    with torch.no_grad():
        cell.output_scale.fill_(30.0)
        cell.output_offset.copy_(-policy(torch.randn(1, 100, 5))[0].mean(dim=(0, 1)))
    return policy.eval()


def frames_policy() -> FramesPolicy:
    cell = GRU(32, 6, 5, frame_s=1 / 30)
    return FramesPolicy(cell, head="light", frame_shape=FRAME, choices=(2, 3)).eval()


def contract(*counts: int, observation=None) -> Contract:
    entries = tuple(Entry(name=f"entry {i}") for i in range(5))
    return Contract(
        observation=observation or VectorContract(entries=entries),
        action=tuple(
            ActionContract(name=f"action {i}", choices=tuple(f"choice {k}" for k in range(count)))
            for i, count in enumerate(counts)
        ),
        frame_s=1 / 30,
    )


def test_the_best_choice_of_each_entry_is_taken():
    policy, steps = numbers_policy(), 40
    seen = np.random.default_rng(0).normal(size=(steps, 5))
    scores = policy(torch.tensor(seen, dtype=torch.float32)[None])[0][0].detach()
    expected = torch.stack([block.argmax(1) for block in scores.split(CHOICES, dim=1)], dim=1)
    assert all(len(set(column)) > 1 for column in expected.T.tolist())  # not always the same

    acted = np.stack([policy.act(one) for one in seen])
    np.testing.assert_array_equal(acted, expected)
    assert acted.dtype == np.int64 and acted.shape == (steps, 3)

    pilot = PolicyPilot(policy)
    for step in range(steps):
        dt_s, is_first = np.full(2, policy.circuit.frame_s), np.full(2, step == 0)
        chosen = pilot(np.stack([seen[step]] * 2), [{}] * 2, dt_s, is_first)
        np.testing.assert_array_equal(chosen, acted[[step, step]])


@pytest.mark.parametrize("make", [numbers_policy, frames_policy])
def test_choices_come_back(make, tmp_path):
    policy = make()
    policy.save(tmp_path / "policy")
    again = Policy.load(tmp_path / "policy")
    assert again.choices == policy.choices
    seen = np.zeros(FRAME, np.uint8) if make is frames_policy else np.ones(5)
    np.testing.assert_array_equal(again.act(seen), policy.act(seen))


def test_policies_of_numbers_and_older_ones_have_no_choices(tmp_path):
    VectorPolicy(GRU(5, 4, 2), observation_size=5).save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    assert config["settings"].pop("choices") == []
    path.write_text(json.dumps(config))
    policy = Policy.load(tmp_path / "policy")
    assert policy.choices == () and policy.act(np.zeros(5)).dtype == np.float32


def test_a_contract_of_other_choices_is_refused(tmp_path):
    policy = numbers_policy()
    policy.contract = contract(*CHOICES)
    policy.save(tmp_path / "policy")
    assert Policy.load(tmp_path / "policy").contract is not None
    with pytest.raises(
        ValueError,
        match=r"`contract` must have actions of \[3, 2, 4\] choices as the policy has, got actions"
        r" of \[2, 3, 4\] choices\. Build",
    ):
        policy.contract = contract(2, 3, 4)
    with pytest.raises(ValueError, match=r"got numbers as actions\."):
        policy.contract = contract(0, 0, 0)
    with pytest.raises(ValueError, match=r"must have numbers as actions .* got actions of \[2\]"):
        VectorPolicy(GRU(5, 4, 2), observation_size=5).contract = contract(2)

    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["choices"] = [4, 5]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: `contract` must have actions of \[4, 5\]"):
        Policy.load(tmp_path / "policy")


def test_a_circuit_without_an_output_for_each_choice_is_refused():
    with pytest.raises(ValueError, match=r"`cell` must have 5 outputs, .* \[2, 3\], got 4\."):
        VectorPolicy(GRU(5, 4, 4), observation_size=5, choices=(2, 3))
    with pytest.raises(ValueError, match="`choices` must be"):
        FramesPolicy(GRU(32, 4, 4), frame_shape=FRAME, choices=(4, 0))
    with pytest.raises(ValueError, match="`squash` must be 'clip' for choices, got 'tanh'"):
        VectorPolicy(GRU(5, 4, 4), observation_size=5, choices=(4,), squash="tanh")


def test_audits_speak_of_scores_without_limits():
    policy = numbers_policy()
    features, dt_s = torch.randn(10, 5), torch.full((10,), policy.circuit.frame_s)
    effects = ablation_effects(policy, features, dt_s, neurons={"motor_0": 0.0})
    scores = policy(features[None])[0][0].detach()
    assert scores.abs().max() > 1.0
    expected = (policy.circuit.cell.output_offset[0] - scores[:, 0]).detach().abs().max()
    assert effects[0].largest == pytest.approx(float(expected), rel=1e-4)

    seeing = frames_policy()
    frames = np.random.default_rng(0).integers(0, 256, (6, *FRAME), np.uint8)
    assert fault_responses(seeing, frames, np.full(6, 0.1))[0].action_rms > 0.0
    assert saliency(seeing, frames, "input_gradient", action=4).shape == (6, 20, 24)
    seeing.contract = contract(2, 3, observation=FramesContract(shape=FRAME, colour="grey"))


def test_outputs_are_named_by_their_choices():
    assert contract(0, 2).output_names == ["action 0", "action 1: choice 0", "action 1: choice 1"]


def test_a_policy_of_choices_is_measured_in_its_world():
    world = find_world("gymnasium:CartPole-v1")
    policy = VectorPolicy(GRU(4, 4, 2, frame_s=0.02), observation_size=4, choices=(2,))
    policy.contract = world.contract
    episodes = run_episodes(world, policy, seeds=range(3))
    assert all(episode.total_reward >= 8 for episode in episodes)  # no pole falls sooner
