import json

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Circuit, Policy


@pytest.fixture
def policy(flat_policy):
    return flat_policy(Circuit(LTC(NCP19))).eval()


def test_saved_and_loaded_policies_are_equal_to_the_bit(policy, tmp_path):
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert loaded.circuit.cell.wiring == NCP19
    observation = torch.randn(2, 5, 32)
    assert torch.equal(loaded(observation)[0], policy(observation)[0])
    assert sorted(p.name for p in (tmp_path / "policy").iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]


def test_act_step_by_step_equals_the_sequence(policy):
    observation = torch.randn(1, 6, 32)
    together = policy(observation)[0].clamp(-1, 1)[0].detach().numpy()
    for _ in range(2):  # the second round only agrees if reset forgets the first
        policy.reset()
        single = np.stack([policy.act(frame.numpy()) for frame in observation[0]])
        np.testing.assert_allclose(single, together, rtol=1e-5, atol=1e-6)


def test_act_follows_the_weights_and_the_dtype(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    before = policy.act(frame)
    with torch.no_grad():
        policy.circuit.cell.output_offset.add_(0.25)
    policy.reset()
    np.testing.assert_allclose(policy.act(frame), before + 0.25, atol=1e-6)
    policy.double()
    again = policy.act(frame.astype(np.float64))
    assert again.dtype == np.float64
    np.testing.assert_allclose(again, before + 0.25, atol=1e-5)


def test_act_uses_the_elapsed_time(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    quick = policy.act(frame, dt_s=0.001)
    policy.reset()
    assert np.abs(quick - policy.act(frame, dt_s=0.5)).max() > 1e-4


def test_saving_replaces_the_old_folder_whole(policy, tmp_path):
    policy.save(tmp_path / "policy")
    (tmp_path / "policy" / "left over").write_text("from before")
    policy.save(tmp_path / "policy")
    assert not (tmp_path / "policy" / "left over").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_a_failed_save_leaves_the_old_policy(policy, tmp_path, monkeypatch):
    policy.save(tmp_path / "policy")
    before = (tmp_path / "policy" / "weights.safetensors").read_bytes()
    monkeypatch.setattr("safetensors.torch.save", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        policy.save(tmp_path / "policy")
    assert (tmp_path / "policy" / "weights.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_missing_and_damaged_files_are_named(policy, tmp_path):
    folder = tmp_path / "policy"
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold config\.json, got"):
        Policy.load(folder)
    policy.save(folder)
    weights = (folder / "weights.safetensors").read_bytes()

    (folder / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        Policy.load(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors is missing"):
        Policy.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="must be JSON"):
        Policy.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 1, got version 99"),
        ({"policy": "Nobody"}, "must be one of .*FlatPolicy.*, got 'Nobody'"),
        ({"settings": {"cell": {"name": "ltd"}}}, "`cell` must be one of .*, got 'ltd'"),
        ({"settings": {"cell": {"name": "ltc", "settings": {"size": 3}}}}, "`settings` of cell"),
    ],
)
def test_configs_of_something_else_are_refused(policy, tmp_path, change, message):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Policy.load(tmp_path / "policy")


def test_weights_of_another_circuit_are_refused(policy, tmp_path):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["cell"]["settings"]["wiring"]["synapses"].pop()
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"does not fit the policy in config\.json"):
        Policy.load(tmp_path / "policy")
