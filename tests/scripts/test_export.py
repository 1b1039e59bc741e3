import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Feedforward, FramesPolicy, VectorPolicy, load
from ncp_control.audit.excerpt import read_excerpt, write_excerpt
from ncp_control.commands.export import Export, export
from ncp_control.commands.int8_loss import loss_by_int8
from ncp_control.contract import ActionContract, Contract, FramesContract
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.tables import number
from ncp_control.deploy.c.targets import SelfTest, Target
from ncp_control.deploy.onnx import OnnxController, to_onnx
from ncp_control.kernels.build import BuildError, find_compiler
from ncp_control.replay import show

ROOT = Path(__file__).parents[2]


def test_a_policy_becomes_c_that_compiles_and_passes_its_test(tmp_path):
    out = tmp_path / "firmware"
    words = ["walker2d-ltc", "--to", "c", "--out", str(out), "--name", "walker"]
    command = [sys.executable, "scripts/export.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    names = ["walker.c", "walker.h", "walker_pipe.c", "walker_test.c", "walker_test.h"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert "commands  thigh torque in [-1, 1]" in done.stdout
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    assert "self-test here: passed" in done.stdout
    by_hand = done.stdout.splitlines()[-1].strip()
    ran = subprocess.run(by_hand, shell=True, capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert ran.stdout.startswith("pass: 16 steps")


@pytest.fixture
def with_outliers(tmp_path):
    """Return a saved policy whose first convolution has a few weights that are far larger than the
    others, and its folder."""
    torch.manual_seed(0)
    policy = FramesPolicy(Feedforward(32, 8, 1), head="light", frame_shape=(30, 40, 3)).eval()
    with torch.no_grad():
        policy.head.convolutions[0].weight[:, 0, 0, 0] *= 60.0
        policy.circuit.cell.output.weight *= 50.0
    policy.contract = Contract(
        observation=FramesContract(shape=(30, 40, 3)),
        action=(ActionContract(name="steering", unit="deg", scale=(0.0, 25.0)),),
        frame_s=1 / 30,
    )
    policy.save(tmp_path / "policy")
    return policy, tmp_path / "policy"


def test_the_loss_by_int8_weights_is_that_of_the_c_on_the_excerpt(with_outliers, capsys):
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    policy, folder = with_outliers
    frames = np.random.default_rng(0).integers(0, 256, (12, 30, 40, 3)).astype(np.uint8)
    frames[:, :, 20:] //= 4
    path = write_excerpt(folder / "excerpt.safetensors", show(policy, frames, np.full(12, 0.1)))
    seen = read_excerpt(path).observations
    controllers = [CController(policy, head_weights=of) for of in ("float32", "int8")]
    exact, rounded = (np.array([of.act(frame, 0.1) for frame in seen]) for of in controllers)
    largest = np.abs(exact - rounded).max()
    assert 0.01 < largest < 0.1
    export(Export(policy=str(folder), to="c", out=folder / "out", head_weights="int8"))
    said = capsys.readouterr().out
    assert "of double precision with these int8 weights;" in said
    found = re.search(
        r"on the 12 frames of excerpt.safetensors:\n"
        r"  steering: at most (\S+) \(deg\), (\S+)% of its range\n",
        said,
    )
    assert found is not None
    assert float(found[1]) == pytest.approx(25.0 * largest, rel=0.1)
    assert float(found[2]) == pytest.approx(50.0 * largest, abs=0.1)
    assert "warning: int8" not in said


def test_a_large_loss_by_int8_weights_is_warned_of(with_outliers):
    policy, folder = with_outliers
    assert "on 16 frames of noise, which say little" in loss_by_int8(policy, folder)
    assert "warning" not in loss_by_int8(policy, folder)
    with torch.no_grad():
        policy.circuit.cell.output.weight *= 20.0
    assert "warning: int8 weights change an action by more than 5%" in loss_by_int8(policy, folder)


def test_a_policy_becomes_onnx_that_is_checked_and_acts(tmp_path, capsys):
    export(Export(policy="walker2d-ltc", to="onnx", out=tmp_path / "out", name="walker"))
    said = capsys.readouterr().out
    assert "commands  thigh torque in [-1, 1]" in said
    assert "check in ONNX Runtime: passed" in said
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "walker.onnx"
    assert f"OnnxController({str(path)!r}).act(observation, dt_s)" in said
    observation = np.random.default_rng(0).standard_normal(17).astype(np.float32)
    found = OnnxController(path).act(observation, 0.01)
    wanted = load("walker2d-ltc").act(observation, 0.01)
    np.testing.assert_allclose(found, wanted, atol=3e-6)


@pytest.mark.parametrize(
    ("policy", "settings", "sentence"),
    [
        ("rk4", {"to": "c"}, "`integrator` must not be 'rk4' in C"),
        ("rk4", {"to": "onnx"}, "`integrator` must not be 'rk4' in ONNX"),
        ("drive-npc", {"to": "c"}, "Did you mean 'drive-ncp'?"),
        ("walker2d-ltc", {"to": "c", "head_weights": "int8"}, "`head_weights` must be 'float32'"),
        ("drive-ncp", {"to": "onnx", "head_weights": "int8"}, "`head_weights` must be 'float32'"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_no_file(policy, settings, sentence, tmp_path):
    if policy == "rk4":
        policy = str(tmp_path / "policy")
        VectorPolicy(LTC(NCP19, integrator="rk4"), observation_size=32).save(policy)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        export(Export(policy=policy, out=tmp_path / "out", **settings))
    assert not (tmp_path / "out").exists()


def test_a_policy_that_acts_otherwise_in_c_is_not_written(monkeypatch, tmp_path):
    result = SelfTest(
        passed=False,
        largest_difference=0.5,
        bits="",
        state_bytes=0,
        workspace_bytes=0,
        instructions=None,
        fault_instructions=None,
        step_us=0.0,
    )
    monkeypatch.setattr(Target, "build", lambda *_: None)
    monkeypatch.setattr(Target, "run", lambda *_: result)
    with pytest.raises(ValueError, match=r"must act in C as it does here, .* differ by 0\.5"):
        export(Export(policy="walker2d-ltc", to="c", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_policy_that_acts_otherwise_in_onnx_is_not_written(monkeypatch, tmp_path):
    def wrong(policy, *, name):
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter += 0.01
        model = to_onnx(policy, name=name)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter -= 0.01
        return model

    monkeypatch.setattr("ncp_control.commands.exporting.to_onnx", wrong)
    with pytest.raises(ValueError, match="must act in ONNX as it does here, .* differ by"):
        export(Export(policy="walker2d-ltc", to="onnx", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_without_onnx_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"`to` must not be 'onnx' here: onnx is missing.*pip"):
        export(Export(policy="walker2d-ltc", to="onnx", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_files_of_another_export_are_replaced_and_named(monkeypatch, tmp_path, capsys):
    def export_to_out(policy, **settings):
        export(Export(policy=policy, to="c", out=tmp_path / "out", **settings))
        return (
            f"'{tmp_path / 'out' / 'controller.h'}' was of another export"
            in capsys.readouterr().out
        )

    monkeypatch.setattr("ncp_control.commands.exporting._check_c", lambda *_, **__: "passed")
    monkeypatch.setattr("ncp_control.commands.exporting.loss_by_int8", lambda *_: "no loss")
    assert not export_to_out("drive-ncp")
    assert not export_to_out("drive-ncp")
    assert export_to_out("drive-ncp", head_weights="int8")
    assert export_to_out("walker2d-ltc")
    assert not export_to_out("walker2d-ltc")
    (tmp_path / "out" / "controller.h").write_text("/* of somebody else */")
    assert export_to_out("walker2d-ltc")


def test_without_a_compiler_the_files_are_written_and_not_checked(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Target, "missing", "no C compiler found")
    policy = VectorPolicy(LTC(NCP19), observation_size=32)
    policy.save(tmp_path / "policy")
    export(Export(policy=str(tmp_path / "policy"), to="c", out=tmp_path / "out"))
    said = capsys.readouterr().out
    assert "warning: this policy has no contract" in said
    assert "self-test here: not run: no C compiler found" in said
    assert (tmp_path / "out" / "controller.c").exists()


def test_c_that_the_compiler_here_refuses_is_not_written(monkeypatch, tmp_path):
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))

    def damaged(*words, **settings):
        controller = to_c(*words, **settings)
        return replace(controller, source=controller.source.replace("float", "flaot"))

    monkeypatch.setattr("ncp_control.commands.exporting.to_c", damaged)
    with pytest.raises(SystemExit, match=r"^failed: .*could not compile .*error.*Nothing was writ"):
        export(Export(policy="walker2d-ltc", to="c", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
def test_numbers_that_c_cannot_hold_are_refused(value):
    with pytest.raises(ValueError, match="`value` must be finite in single precision to be writ"):
        number(value)
