"""The files of a saved policy: what is damaged, absurd or not finite is refused in one sentence."""

import json
import struct
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from ncp_control import LSTM, LTC, NCP19, Circuit, Policy
from ncp_control.policy.folder import MAX_CONFIG_BYTES
from ncp_control.tensor_budget import TensorBudget, TensorBudgetError
from ncp_control.wiring_rules import ncp19


@pytest.fixture
def policy(flat_policy):
    return flat_policy(Circuit(LTC(NCP19))).eval()


@pytest.fixture
def saved(policy, tmp_path):
    """A folder with a policy that a test may damage."""
    policy.save(tmp_path / "policy")
    return tmp_path / "policy"


def change_cell(folder, cell):
    """Exchange the settings of the circuit, and leave the weights."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": {"cell": cell}}))


def change_weights(folder, **changes):
    """Exchange tensors of a saved policy by the last part of their name; None takes one out."""
    path = folder / "weights.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    for name, change in changes.items():
        tensors[f"circuit.cell.{name}"] = change and change(tensors[f"circuit.cell.{name}"])
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    path.write_bytes(safetensors.torch.save(kept))


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
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json must hold one JSON object, got \[1\]"):
        Policy.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 1, got version 99"),
        ({"format_version": True}, "format version 1, got version True"),
        ({"settings": {}}, "`settings` in .* must be those of a FlatPolicy, got none named 'cell'"),
        ({"settings": None}, "`settings` in .* must be those of a FlatPolicy, got None"),
        ({"policy": ["x"]}, r"must be one of .*, got \['x'\]"),
        ({"policy": "Nobody"}, "must be one of .*FlatPolicy.*, got 'Nobody'"),
        (
            {"settings": {"cell": {"settings": 3}}},
            "`cell` must have a name and settings",
        ),
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
        ({"num_inter": 10**11}, "at most|at least"),
        ({"synapses": [["a", 33, 1]]}, "must be those of a FlatPolicy, got TypeError"),
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
        ValueError, match=r"`circuit\.cell\.slope` in .* must be torch\.float32 or another of"
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
    with pytest.raises(ValueError, match=rf"Import the module '{type(policy).__module__}'"):
        Policy.load(tmp_path / "policy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "[" * 100_000, "its brackets are nested too deeply"),
        (lambda text: text.replace("0.0333", "NaN, 0.0333", 1), "NaN is not a JSON number"),
        (lambda text: text.replace("0.0333", "1e999, 0.0333", 1), "the number 1e999 is too large"),
        (lambda text: text.replace("33", "3" * 5000, 1), "a whole number has too many digits"),
        (
            lambda text: text.replace('"settings"', '"policy": 1, "settings"', 1),
            "'policy' stands tw",
        ),
        (lambda text: text.encode("utf-16"), "byte 0 is not UTF-8"),
        (lambda text: text[:40] + "\udcff" + text[40:], "byte 40 is not UTF-8"),
    ],
)
def test_json_that_says_something_else_to_others_is_refused(saved, change, message):
    text = change((saved / "config.json").read_text())
    content = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    (saved / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json must be JSON: .*{message}"):
        Policy.load(saved)


def test_a_byte_order_mark_does_no_harm(saved):
    text = (saved / "config.json").read_text()
    (saved / "config.json").write_text(text, encoding="utf-8-sig")
    Policy.load(saved)


def test_files_that_claim_gigabytes_are_refused_unread(saved):
    header = {"circuit.cell.slope": {"dtype": "F32", "shape": [2**33], "data_offsets": [0, 2**35]}}
    text = json.dumps(header).encode()
    with (saved / "weights.safetensors").open("wb") as file:  # holes take no place on the disk
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 2**35)
    with pytest.raises(ValueError, match="does not fit the policy"):
        Policy.load(saved)
    with (saved / "config.json").open("r+b") as file:
        file.truncate(MAX_CONFIG_BYTES + 1)
    with pytest.raises(ValueError, match=rf"it has {MAX_CONFIG_BYTES + 1} bytes, and at most"):
        Policy.load(saved)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lstm", {"hidden_size": 100_000}, "tensors of at least 12800000 numbers|tensors of at"),
        ("gru", {"hidden_size": 10**12}, "tensors of at least"),
        ("feedforward", {"hidden_size": 2**62}, "tensors of at least"),
        ("cfc", {"hidden_size": 8, "backbone_layers": 10**9}, "`backbone_layers` must be at most"),
        ("ctgru", {"hidden_size": 8, "num_scales": 10**9}, "a state of 8000000000 numbers"),
    ],
)
def test_absurd_sizes_are_refused_before_they_take_memory(saved, name, settings, message):
    change_cell(saved, {"name": name, "settings": {"input_size": 32, "output_size": 1} | settings})
    with pytest.raises(ValueError, match=message):
        Policy.load(saved)


def test_cells_nested_without_end_are_refused(saved):
    cell = {"name": "lstm", "settings": {"input_size": 32, "hidden_size": 4, "output_size": 1}}
    for _ in range(240):
        cell = {"name": "mixed_memory", "settings": {"cell": cell}}
    change_cell(saved, cell)
    with pytest.raises(ValueError, match="`cell` must be a Cell with a state of its own"):
        Policy.load(saved)


def test_a_large_policy_is_built_within_the_budget(flat_policy, tmp_path, monkeypatch):
    monkeypatch.setattr("ncp_control.policy.folder.WORKING_NUMBERS", 0)  # the share alone suffices
    policy = flat_policy(Circuit(LSTM(32, 256, 1))).eval()
    policy.save(tmp_path / "policy")
    torch.manual_seed(1)
    Policy.load(tmp_path / "policy")
    after = torch.rand(1)
    torch.manual_seed(1)
    LSTM(32, 256, 1)
    assert torch.equal(after, torch.rand(1)), "loading draws what building draws"


def test_a_budget_counts_what_is_made_and_nothing_else():
    with TensorBudget(100) as budget:
        torch.empty(2, 5).uniform_() + 1.0
        torch.ones(20)
        torch.arange(0, 20)
        torch.linspace(0.5, 99.5, 10)
        assert budget.num_numbers == 10 + 20 + 20 + 10
        torch.full((20,), 1e9)
        torch.empty(20).new_zeros(0)
        with pytest.raises(
            TensorBudgetError, match="at least 1000000000100 numbers, where 100 are"
        ):
            torch.zeros(1_000_000, 1_000_000)
    torch.zeros(200)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["output_scale", "threshold", "raw_reversal"])
def test_weights_that_are_not_finite_are_refused_by_name(saved, name, value):
    def spoil(tensor):
        tensor[-1] = value
        return tensor

    change_weights(saved, **{name: spoil})
    with pytest.raises(
        ValueError, match=rf"`circuit\.cell\.{name}` in .* must be finite, got {value} at entry \["
    ):
        Policy.load(saved)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_what_a_module_declares_positive_is_checked(saved, flat_policy, monkeypatch, value):
    # Declared by a module inside the policy, not by the policy itself.
    monkeypatch.setattr(LTC, "positive_tensors", ("output_scale",), raising=False)
    Policy.load(saved)
    change_weights(saved, output_scale=lambda tensor: torch.full_like(tensor, value))
    with pytest.raises(ValueError, match=r"output_scale` in .* must be positive and finite, got"):
        Policy.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slope": lambda t: t.to(torch.float8_e4m3fn)}, r"`.*slope` in .* got F8_E4M3"),
        ({"slope": torch.Tensor.bool}, r"`.*slope` in .* must be torch\.float32 or .* got BOOL"),
        ({"slope": lambda t: t.to(torch.complex64)}, r"`.*slope` in .* got C64"),
        ({"slope": torch.Tensor.double}, r"`.*slope` in .* must be F32 as `.*` is, got F64"),
        ({"source": torch.Tensor.int}, r"`.*source` in .* must be torch\.int64, got I32"),
        ({"source": torch.Tensor.double}, r"`.*source` in .* must be torch\.int64, got F64"),
        ({"slope": None}, r"'circuit\.cell\.slope' is missing\. Copy config"),
        ({"slope": lambda t: t[:-1]}, r"`circuit\.cell\.slope` must have shape \(\d+,\), got"),
        (
            {"target": lambda t: t.flip(0)},
            r"config\.json: `circuit\.cell\.target` must be what LTC",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_our_words(saved, changes, message):
    change_weights(saved, **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        Policy.load(saved)
    assert "state_dict" not in str(refusal.value) and "\n" not in str(refusal.value)


def test_weights_too_many_are_refused(saved):
    path = saved / "weights.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    path.write_bytes(safetensors.torch.save(tensors | {"more": torch.zeros(1)}))
    with pytest.raises(ValueError, match=r"'more' is too much\. Copy config"):
        Policy.load(saved)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_floating_type_comes_back(flat_policy, tmp_path, dtype):
    flat_policy(Circuit(LTC(NCP19))).to(dtype).save(tmp_path / "policy")
    assert {p.dtype for p in Policy.load(tmp_path / "policy").parameters()} == {dtype}


def test_parts_of_a_policy_may_be_of_different_types(policy, flat_policy, tmp_path, monkeypatch):
    def build(config):
        built = from_config(config)
        built.head = torch.nn.Linear(3, 3)
        return built

    from_config = flat_policy.from_config
    monkeypatch.setattr(flat_policy, "from_config", build)
    policy.head = torch.nn.Linear(3, 3).half()
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert (loaded.head.weight.dtype, loaded.circuit.cell.slope.dtype) == (
        torch.float16,
        torch.float32,
    )
    policy.head.bias.data = policy.head.bias.data.double()
    policy.save(tmp_path / "policy")
    with pytest.raises(
        ValueError, match=r"`head\.\w+` in .* must be F\d\d as `head\.\w+` is, got F"
    ):
        Policy.load(tmp_path / "policy")


def test_settings_that_could_not_be_loaded_are_not_saved(policy, tmp_path, monkeypatch):
    policy.save(tmp_path / "policy")
    size = (tmp_path / "policy" / "config.json").stat().st_size
    for module in ("base", "folder"):
        monkeypatch.setattr(f"ncp_control.policy.{module}.MAX_CONFIG_BYTES", size)
    policy.save(tmp_path / "policy")
    Policy.load(tmp_path / "policy")
    monkeypatch.setattr("ncp_control.policy.base.MAX_CONFIG_BYTES", size - 1)
    with pytest.raises(
        ValueError, match=f"`settings` must take at most {size - 1} bytes, got {size}"
    ):
        policy.save(tmp_path / "new")
    policy.to_config = lambda: {"rate": float("nan")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        policy.save(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RecursionError("maximum depth"), "got cells nested too deeply\\."),
        (
            RuntimeError("[enforce fail at alloc.cpp]"),
            "got numbers that are too large or too small",
        ),
        (OverflowError("int too large"), "got numbers that are too large or too small"),
        (MemoryError(), "got numbers that are too large or too small"),
        (KeyError(), "got none named ''"),
        (IndexError("out\nof range."), r"got IndexError: out of range\. Copy"),
    ],
)
def test_what_a_constructor_raises_is_told_in_our_words(saved, monkeypatch, error, reason):
    def fail(config):
        raise error

    monkeypatch.setattr(Policy._subclasses["FlatPolicy"], "from_config", fail)
    with pytest.raises(
        ValueError, match=f"`settings` in .* must be those of a FlatPolicy, {reason}"
    ):
        Policy.load(saved)


@pytest.mark.slow
def test_loading_does_not_import_torchs_compiler(saved):
    """It would take seconds and 150 MB; only a new process can tell."""
    code = (
        "import sys\nfrom ncp_control import LSTM\n"
        "from ncp_control.tensor_budget import TensorBudget\n"
        "with TensorBudget(10**6): LSTM(3, 4, 1)\nassert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
