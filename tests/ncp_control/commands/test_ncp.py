"""The command `ncp` as a person types it."""

import hashlib
import shlex
import subprocess
import sys

import numpy as np
import pytest

import ncp_control
from ncp_control import LTC, NCP19, VectorPolicy, load, make_cell
from ncp_control.audit.bounds import certify
from ncp_control.audit.excerpt import write_excerpt
from ncp_control.cells import CellSizes
from ncp_control.commands.audit import neuron_columns
from ncp_control.commands.ncp import main
from ncp_control.contract import ActionContract, Contract, Entry, VectorContract
from ncp_control.deploy.links import world
from ncp_control.deploy.links.world import open_world_link
from ncp_control.episode import Episode
from ncp_control.kernels.build import BuildError, find_compiler
from ncp_control.learning.run import typed_command
from ncp_control.loop.clocks import RealClock
from ncp_control.policy import shipped_policies
from ncp_control.registry import Registry
from ncp_control.replay import show


@pytest.fixture
def ncp(monkeypatch, tmp_path):
    """Type the command in a folder of its own; return its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/ncp", *map(str, words)])
        try:
            main()
        except SystemExit as stop:
            return stop.code
        return 0

    return run


def test_info_says_what_a_policy_is(ncp, capsys):
    assert ncp("info", "drive-ncp") == 0
    said = capsys.readouterr().out
    weights = (shipped_policies()["drive-ncp"] / "weights.safetensors").read_bytes()
    assert "commands  steering in [-1, 1], fraction of 0.4 rad, positive is left" in said
    assert "19 (32 sensory, 12 inter, 6 command, 1 motor), 252 synapses" in said
    parameters = sum(one.numel() for one in load("drive-ncp").parameters())
    assert f"{parameters:,} parameters, " in said
    assert "every state stays within [-1.12, 1.07]: certified" in said
    assert f"sha256    {hashlib.sha256(weights).hexdigest()}" in said


def test_info_without_a_name_lists_the_shipped_policies(ncp, capsys):
    assert ncp("info") == 0
    listed = [line.split("|")[1:4] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name.strip() for name, _, _ in listed] == list(shipped_policies())
    parameters = sum(one.numel() for one in load("drive-lstm").parameters())
    assert ["drive-lstm", "LSTM", f"{parameters:,}"] in [
        [cell.strip() for cell in row] for row in listed
    ]


def test_the_version_is_told_and_a_reader_may_stop_early(ncp, capsys):
    assert ncp("--version") == 0
    assert capsys.readouterr().out == f"ncp-control {ncp_control.__version__}\n"
    line = f"{shlex.quote(sys.executable)} -m ncp_control info | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True
    )
    assert done.stdout.startswith("| policy ") and done.stderr == ""


def test_info_says_what_is_not_known(ncp, capsys, tmp_path):
    cell = LTC(NCP19, integrator="rk4")
    VectorPolicy(cell, observation_size=32).save(tmp_path / "policy")
    assert ncp("info", "policy") == 0
    said = capsys.readouterr().out
    assert "warning: this policy has no contract" in said
    assert "bounds    none: " in said


def test_audit_says_what_each_neuron_does(ncp, capsys):
    assert ncp("audit", "drive-ncp") == 0
    said = capsys.readouterr().out
    certificate = certify(load("drive-ncp").circuit.cell)
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in said.splitlines() if line.startswith("| "))
    }
    assert len(rows) == 19 + 2  # the header and the line below it
    for k, name in enumerate(certificate.neuron_names):
        seen, certified, taus, in_frames, change = rows[name]
        low, high = (float(end) for end in seen.split(" to "))
        assert certificate.state.low[k] - 0.01 <= low <= high <= certificate.state.high[k] + 0.01
        low, high = (float(end) for end in certified.split(" to "))
        assert low <= certificate.state.low[k] and certificate.state.high[k] <= high
        assert (low, high) == pytest.approx(
            (certificate.state.low[k], certificate.state.high[k]), rel=0.01
        )
        least, mean, most = (float(one) for one in taus.split(","))
        assert 1e3 * certificate.tau_s.low[k] <= 1.01 * least <= 1.02 * mean <= 1.03 * most
        assert float(in_frames) == pytest.approx(mean / 33.333, rel=0.06)
        assert float(change) >= 0.0
    assert "memory: Memory is not used here: wiping the state" in said


def test_audit_gives_time_constants_of_slow_frames_in_minutes():
    policy = VectorPolicy(LTC(NCP19, frame_s=120.0), observation_size=32)
    episode = show(policy, np.ones((5, 32), np.float32), np.full(5, 120.0, np.float32))
    columns = neuron_columns(policy, episode, None)
    means = [float(taus.split(", ")[1]) for taus in columns["τ [min]: least, mean, most"]]
    in_frames = [float(mean) for mean in columns["mean τ [frames]"]]
    assert means == pytest.approx([2.0 * mean for mean in in_frames], rel=0.06)


def test_audit_of_a_policy_that_saw_nothing_asks_for_a_drive(ncp, capsys, tmp_path):
    VectorPolicy(LTC(NCP19), observation_size=32).save(tmp_path / "policy")
    for command in ("audit", "demo"):
        assert ncp(command, "policy") == 2
        assert "drive" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lrc", "stc", "mixed_ltc", "gru"])
def test_a_policy_of_any_cell_can_be_looked_into(ncp, capsys, tmp_path, name):
    """With an excerpt of its own; neurons that cannot be held one by one have no effect."""
    sizes = CellSizes(num_inputs=2, num_units=8, num_outputs=1, frame_s=0.1)
    policy = VectorPolicy(make_cell(name, sizes), observation_size=2)
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name="a"), Entry(name="b"))),
        action=(ActionContract(name="c"),),
        frame_s=0.1,
    )
    policy.save(tmp_path / "policy")
    seen = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    episode = Episode(time_s=0.1 * np.arange(20), dt_s=np.full(20, 0.1), observations=seen,
                      actions=np.zeros((20, 1)), rewards=np.zeros(20), where="noise")  # fmt: skip
    write_excerpt(tmp_path / "policy" / "excerpt.safetensors", episode)
    assert ncp("audit", "policy") == 0
    said = capsys.readouterr().out
    assert "memory: " in said
    (header,) = [line for line in said.splitlines() if line.startswith("| neuron ")]
    assert ("action changes without it" in header) == (name == "gru")
    assert ("certified" in header) == (name in ("lrc", "stc"))
    assert ("τ" in header) == (name != "gru")
    assert "–" not in said and "e+" not in said and "-0.00 " not in said
    assert ncp("demo", "policy", "--no-open") == 0
    (page,) = tmp_path.glob("demo-*.html")
    assert policy.circuit.cell.neuron_names[0] in page.read_text()


def test_export_writes_what_the_script_writes(ncp, capsys, tmp_path):
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    VectorPolicy(LTC(NCP19), observation_size=32).save(tmp_path / "mine")
    assert ncp("export", "mine", "--to", "c") == 0
    assert "self-test here: passed" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "exported" / "mine").iterdir()}
    assert names == {f"controller{end}" for end in (".h", ".c", "_test.h", "_test.c", "_pipe.c")}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["infos", "drive-ncp"], "error: `job` must be one of .* Did you mean 'info'"),
        (["info", "drive-npc"], "error: `policy` must be one of .* Did you mean 'drive-ncp'"),
        (["run", "drive-ncp", "--backend", "tourch"], "Did you mean 'torch'"),
        (["audit", "drive-cnn"], "error: `drive` must be given .* excerpt are drive-ncp"),
        (["demo", "drive-cnn"], "error: `drive` must be given .* excerpt are drive-ncp"),
    ],
)
def test_a_slip_is_one_sentence(ncp, capsys, words, sentence):
    assert ncp(*words) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    for part in sentence.split(".*"):
        assert part.strip() in said


def test_without_a_clone_one_sentence_says_where_worlds_are(monkeypatch):
    monkeypatch.setattr(world, "WORLDS", Registry("world"))
    contract = load("drive-ncp").contract
    assert contract is not None
    with pytest.raises(ValueError, match="come with a clone, not with the wheel"):
        open_world_link(contract, "", clock=RealClock())


def test_tables_tell_the_command_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ncp", "run", "drive-ncp"])
    assert typed_command() == "ncp run drive-ncp"
    monkeypatch.setattr(sys, "argv", ["scripts/run.py", "drive-ncp"])
    assert typed_command() == "python scripts/run.py drive-ncp"
    words = ["sweep.py", "imitate", "--grid", "encoder=64 64,128", "it's"]
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(typed_command()) == ["python", *words]
