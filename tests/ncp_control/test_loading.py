"""Policies by name and folder, with their contracts, without an import for its side effects."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import ncp_control
from ncp_control import LTC, NCP19
from ncp_control.audit.action_bounds import with_bounds
from ncp_control.audit.bounds import certify
from ncp_control.commands.info import describe
from ncp_control.contract import ActionContract, Contract, FramesContract
from ncp_control.deploy.c import to_c
from ncp_control.deploy.onnx import to_onnx
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
    action = tuple(dataclasses.replace(entry, bounds=None) for entry in contract.action)
    assert dataclasses.replace(contract, action=action, provenance={}) == CONTRACT
    assert len(contract.provenance["weights_sha256"]) == 64


def test_bounds_are_those_of_the_weights_that_are_saved_loaded_and_exported(folder, tmp_path):
    policy = Policy.load(folder)
    low, high = policy.contract.action[0].bounds
    policy.circuit.cell.output_scale.data.mul_(3.0)
    policy.circuit.cell.output_offset.data.add_(0.5)
    wider = pytest.approx((3.0 * low + 0.5, 3.0 * high + 0.5), rel=1e-6)
    assert with_bounds(policy).action[0].bounds == wider
    text = with_bounds(policy).describe().splitlines()[1]
    assert text in to_c(policy).header and text.encode() in to_onnx(policy).content
    policy.save(tmp_path / "tuned")
    assert Policy.load(tmp_path / "tuned").contract.action[0].bounds == wider
    policy.half().save(tmp_path / "half")
    assert (
        saved_bounds(tmp_path / "half")
        == np.concatenate(certify(policy.circuit.cell).output).tolist()
    )


def test_bounds_of_another_circuit_are_replaced_with_a_warning(folder):
    bounds = Policy.load(folder).contract.action[0].bounds
    edit_bounds(folder, [-0.5, 0.25])
    with pytest.warns(UserWarning, match=r"steering of \[-0.5, 0.25\], and its weights have \["):
        assert Policy.load(folder).contract.action[0].bounds == bounds
    edit_bounds(folder, [float(np.float32(end)) for end in bounds])  # as older versions rounded
    assert Policy.load(folder).contract.action[0].bounds == bounds
    edit_bounds(folder, None)
    assert Policy.load(folder).contract.action[0].bounds == bounds


def saved_bounds(folder):
    config = json.loads((folder / "config.json").read_text())
    return config["contract"]["action"][0]["bounds"]


def edit_bounds(folder, bounds):
    config = json.loads((folder / "config.json").read_text())
    config["contract"]["action"][0]["bounds"] = bounds
    if bounds is None:
        del config["contract"]["action"][0]["bounds"]
    (folder / "config.json").write_text(json.dumps(config))


def test_a_policy_without_a_certificate_has_no_bounds(tmp_path):
    stated = dataclasses.replace(CONTRACT.action[0], bounds=(-0.5, 0.25))
    policy = FramesPolicy(LTC(NCP19, integrator="rk4"), head="light")
    policy.contract = dataclasses.replace(CONTRACT, action=(stated,))
    policy.save(tmp_path / "policy")
    assert Policy.load(tmp_path / "policy").contract.action[0].bounds is None
    edit_bounds(tmp_path / "policy", [-0.5, 0.25])
    with pytest.warns(UserWarning, match="steering, and nothing is certified of it"):
        assert Policy.load(tmp_path / "policy").contract.action[0].bounds is None


def test_nothing_is_certified_of_a_response_of_ones_own(tmp_path):
    """It may not be monotonic."""

    class Squared(FramesPolicy):
        def respond(self, outputs):
            return outputs.square()

    policy = Squared(LTC(NCP19), head="light")
    policy.contract = CONTRACT
    assert with_bounds(policy).action[0].bounds is None


def test_a_provenance_without_the_sum_of_the_weights_is_told(folder):
    config = json.loads((folder / "config.json").read_text())
    config["contract"]["provenance"] = {"command": "train.py drive"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="no weights_sha256: whether its provenance"):
        policy = Policy.load(folder)
    (told,) = [text for name, text in describe(policy) if name == "sha256"]
    assert told.endswith(", weights not checked: the contract has no weights_sha256")
    policy.save(folder)
    assert "not checked" not in dict(describe(Policy.load(folder)))["sha256"]


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
