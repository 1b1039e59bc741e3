"""Policies by name and folder, with their contracts, without an import for its side effects."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import ncp_control
from ncp_control import LTC, NCP19
from ncp_control.contract import ActionContract, Contract, FramesContract
from ncp_control.policy import FramesPolicy, Policy, shipped_policies

CONTRACT = Contract(
    observation=FramesContract(shape=(78, 200, 3)),
    action=(ActionContract(name="steering", positive="left"),),
    frame_s=1 / 30,
    world="LaneKeeping-v0",
)


@pytest.fixture
def folder(tmp_path):
    policy = FramesPolicy(LTC(NCP19), head="light")
    policy.contract = CONTRACT
    policy.save(tmp_path / "policy")
    return tmp_path / "policy"


def test_a_fresh_process_loads_by_name_and_acts():
    code = (
        "import ncp_control, numpy as np; policy = ncp_control.load('drive-ncp');"
        "print(policy.contract.world, policy.act(np.zeros((78, 200, 3), np.uint8)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "LaneKeeping-v0 (1,)\n"


@pytest.mark.parametrize("name", sorted(shipped_policies()))
def test_every_shipped_policy_carries_its_contract(name):
    contract = ncp_control.load(name).contract
    assert contract is not None and contract.provenance["weights_sha256"]
    expected = {"drive": "LaneKeeping-v0", "road": "RoadDriving-v0", "walker2d": "Walker2d-v5"}
    assert contract.world == expected.get(name.split("-")[0], "HalfCheetah-v5")
    assert contract.world_options == ({"observe": "positions"} if "positions" in name else {})


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'drive-ncp'"):
        ncp_control.load("drive_ncp")


def test_a_contract_comes_back_with_the_sum_of_the_weights(folder):
    contract = Policy.load(folder).contract
    assert dataclasses.replace(contract, provenance={}) == CONTRACT
    assert len(contract.provenance["weights_sha256"]) == 64


def test_weights_of_another_training_are_refused(folder, tmp_path):
    FramesPolicy(LTC(NCP19), head="light").save(tmp_path / "other")
    other = (tmp_path / "other" / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(other)
    with pytest.raises(ValueError, match="must have the SHA-256 sum .* of its contract, got"):
        Policy.load(folder)


def test_a_damaged_contract_is_one_sentence(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["contract"]["observation"]["kind"] = "smell"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config.json: `kind` of an observation must be one of"):
        Policy.load(folder)


def test_a_policy_without_a_contract_loads(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["contract"]
    del config["settings"]["frame_shape"]
    path.write_text(json.dumps(config))
    policy = Policy.load(folder)
    assert policy.contract is None and policy.frame_shape == (78, 200, 3)


@pytest.mark.parametrize("shape", [(96, 96, 3), (40, 60, 1), (64, 64, 4)])
@pytest.mark.parametrize("head", ["light", "paper"])
def test_heads_are_built_for_frames_of_any_size(shape, head, tmp_path):
    FramesPolicy(LTC(NCP19), head=head, frame_shape=shape).save(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    frame = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    assert policy.act(frame).shape == (1,)
    with pytest.raises(ValueError, match="must be a uint8 frame of shape"):
        policy.act(np.zeros((78, 200, 3), np.uint8))


def test_a_frame_too_small_for_the_head_is_refused():
    with pytest.raises(ValueError, match="`frame_shape` must be large enough for the head"):
        FramesPolicy(LTC(NCP19), head="light", frame_shape=(1, 60, 3))
