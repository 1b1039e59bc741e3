import json

import numpy as np
import pytest
import safetensors.torch
import torch

from ncp_control import LTC, NCP19, CfC, Circuit, Policy
from ncp_control.wiring_rules import ncp19


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


def test_a_policy_comes_back_as_precise_as_it_was(policy, tmp_path):
    policy.double().save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert next(loaded.parameters()).dtype == torch.float64
    observation = torch.randn(2, 5, 32).double()
    assert torch.equal(loaded(observation)[0], policy(observation)[0])


def test_saving_to_a_link_fills_the_folder_behind_it(policy, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    policy.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "config.json").is_file()


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


def test_act_follows_an_exchanged_cell(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    policy.act(frame)
    for cell in (LTC(NCP19), CfC(32, 5, 1), LTC(NCP19, integrator="rk4")):
        policy.circuit.cell = cell
        policy.reset()
        expected = policy(torch.from_numpy(frame)[None, None])[0].clamp(-1, 1).detach()[0, 0]
        np.testing.assert_allclose(policy.act(frame), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make_cell", [lambda: LTC(NCP19), lambda: CfC(32, 5, 1)])
def test_a_frame_that_is_not_finite_is_refused_and_forgotten(flat_policy, make_cell):
    policy = flat_policy(Circuit(make_cell()))
    first, second = np.random.default_rng(0).standard_normal((2, 32))  # float64, as MuJoCo gives
    actions = [policy.act(first), policy.act(second)]
    policy.reset()
    assert policy.act(first) == actions[0]
    with pytest.raises(ValueError, match="`observation` must give finite features, got NaN"):
        policy.act(np.full(32, np.nan))
    assert policy.act(second) == actions[1]


@pytest.mark.parametrize("change", [{"unfolds": 1}, {"integrator": "rk4"}, {"frame_s": 0.5}])
def test_act_follows_a_changed_setting(policy, change):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    before = policy.act(frame)
    for name, value in change.items():
        setattr(policy.circuit.cell, name, value)
    policy.reset()
    expected = policy(torch.from_numpy(frame)[None, None])[0].clamp(-1, 1).detach()[0, 0]
    np.testing.assert_allclose(policy.act(frame), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(policy.act(frame) - before).max() > 1e-5


@pytest.mark.parametrize("make_cell", [lambda: LTC(NCP19), lambda: CfC(32, 5, 1)])
def test_an_action_that_is_not_finite_is_refused_and_all_forgotten(flat_policy, make_cell):
    policy = flat_policy(Circuit(make_cell()))
    frame = np.random.default_rng(0).standard_normal(32)
    first = policy.act(frame)
    weights = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"`action` must be finite, got \[nan\]"):
        policy.act(frame)
    policy.load_state_dict(weights)
    np.testing.assert_array_equal(policy.act(frame), first)


def test_act_uses_the_elapsed_time(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    quick = policy.act(frame, dt_s=0.001)
    policy.reset()
    assert np.abs(quick - policy.act(frame, dt_s=0.5)).max() > 1e-4


def test_saving_replaces_a_policy_and_nothing_else(policy, flat_policy, tmp_path):
    (tmp_path / "policy").mkdir()
    policy.save(tmp_path / "policy")
    flat_policy(Circuit(CfC(4, 3, 1))).save(tmp_path / "policy")
    assert isinstance(Policy.load(tmp_path / "policy").circuit.cell, CfC)
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]

    thesis = tmp_path / "home" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(
        ValueError, match=r"nothing but a policy, got '.*' with 'thesis\.txt' in it"
    ):
        policy.save(thesis.parent)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"editor": "theirs"}')
    with pytest.raises(ValueError, match=r"with 'config\.json' in it"):
        policy.save(tmp_path / "other")
    with pytest.raises(ValueError, match="`folder` must not be a file"):
        policy.save(thesis)
    assert thesis.read_text() == "years of work"


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
        ({"settings": {}}, "`settings` in .* must be those of a FlatPolicy, got KeyError: 'cell'"),
        ({"settings": None}, "`settings` in .* must be those of a FlatPolicy, got TypeError"),
        ({"policy": ["x"]}, r"must be one of .*, got \['x'\]"),
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


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ({"num_inter": 10**11}, "a wiring must have at most 10000 nodes, got at least 1000000000"),
        ({"synapses": [[float("inf"), 33, 1]]}, "must be those of a FlatPolicy, got TypeError"),
        ({"synapses": [[0.5, 33, 1]]}, "`synapses` must hold three whole numbers each"),
    ],
)
def test_absurd_wirings_are_refused(policy, tmp_path, wiring, message):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["cell"]["settings"]["wiring"] |= wiring
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        Policy.load(tmp_path / "policy")


def test_weights_of_another_kind_are_refused(policy, tmp_path):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "weights.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    tensors["circuit.cell.slope"] = tensors["circuit.cell.slope"].to(torch.int32)
    path.write_bytes(safetensors.torch.save(tensors))
    with pytest.raises(
        ValueError, match=r"`circuit\.cell\.slope` in .* must be torch\.float32, got"
    ):
        Policy.load(tmp_path / "policy")


def test_weights_of_another_circuit_are_refused(policy, tmp_path):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["cell"]["settings"]["wiring"]["synapses"].pop()
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"does not fit the policy in config\.json"):
        Policy.load(tmp_path / "policy")


def test_weights_of_another_wiring_of_the_same_size_are_refused(policy, tmp_path):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["cell"]["settings"]["wiring"] = ncp19(seed=1).to_dict()
    path.write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"`circuit\.cell\.source` must be what LTC was built with"
    ):
        Policy.load(tmp_path / "policy")


def test_a_policy_of_an_unknown_class_names_its_module(policy, tmp_path):
    policy.save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    path.write_text(path.read_text().replace("FlatPolicy", "RoundPolicy"))
    with pytest.raises(ValueError, match=rf"got 'RoundPolicy'\. Import {type(policy).__module__}"):
        Policy.load(tmp_path / "policy")
