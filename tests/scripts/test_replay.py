"""`run.py --record` and `--replay` as a person types them."""

import errno
import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ncp_control.commands.audit import AuditPolicy, audit_policy
from ncp_control.commands.demo import Demo, demo
from ncp_control.commands.replay import Replay
from ncp_control.commands.replay import replay as replay_drive
from ncp_control.commands.run import RunPolicy, run_policy
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.link import LinkEnded, Reading
from ncp_control.loop.playback import read_recording
from ncp_control.loop.realtime import drive
from ncp_control.loop.recording import DriveRecorder
from ncp_control.policy import load

NAME = "walker2d-ltc"


class Readings:
    """A link that gives some numbers, and then nothing for a while, and some more."""

    def __init__(self, contract, clock, count=40):
        self.contract, self.clock, self.left = contract, clock, count
        self.rng = np.random.default_rng(0)

    def read(self, timeout_s):
        self.left -= 1
        if self.left < 0:
            raise LinkEnded("no more")
        if self.left in range(10, 20):
            return None
        values = self.rng.uniform(-0.5, 0.5, self.contract.observation.size)
        return Reading(observation=values, time_s=self.clock.now_s(), info={"speed_mps": 1.0})

    def send(self, command):
        pass

    def stop(self):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def policy():
    return load(NAME)


def record(policy, path, count=40):
    clock = SimulatedClock()
    with DriveRecorder(path, policy, policy.contract, name=NAME) as recorder:
        link = Readings(policy.contract, clock, count)
        drive(policy, policy.contract, link, clock=clock, recorder=recorder)
    return path


@pytest.fixture(scope="module")
def recording(policy, tmp_path_factory):
    return record(policy, tmp_path_factory.mktemp("recording") / "walk.mcap")


@pytest.fixture
def changed(tmp_path):
    """Folder of the policy with one weight changed."""
    other = load(NAME)
    with torch.no_grad():
        next(iter(other.circuit.cell.parameters())).mul_(1.01)
    other.save(tmp_path / "changed")
    return tmp_path / "changed"


@pytest.fixture
def replay(type_command, tmp_path, recording):
    """Replay the recording; return the exit status and the report."""

    def run(*words):
        status = type_command(run_policy, RunPolicy, *words, "--replay", recording)
        reports = sorted(tmp_path.glob("runs/replay-*/report/replay.json"))
        return status, json.loads(reports[-1].read_text()) if reports else None

    return run


def test_the_recorded_policy_does_the_same_again(replay, capsys):
    status, report = replay(NAME, "--tolerance", "0")
    assert status == 0
    assert [entry["largest"] for entry in report["actions"]] == [0.0] * 6
    assert report["ticks"] == 30
    assert report["share_of_states_outside"] == 0.0
    assert report["share_of_actions_outside"] is None  # a tanh allows the whole range
    assert report["model_ms"]["median"] > 0.0
    told = capsys.readouterr().out
    assert "largest difference" in told and "against the recorded actions of walker2d-ltc" in told


def test_another_policy_fails_the_gate_with_one_sentence(replay, changed, recording, policy):
    status, report = replay(changed, "--tolerance", "1e-7")
    assert isinstance(status, str)  # which Python prints, and ends with status 1
    assert status.startswith("failed: ") and "more than the tolerance of 1e-07" in status
    other, worst = load(str(changed)), np.zeros(6)
    squares = []
    for tick in (tick for tick in read_recording(recording).ticks if tick.asked):
        if tick.asked.is_reset:
            other.reset()
        difference = np.abs(other.act(tick.numbers, tick.asked.elapsed_s) - tick.asked.action)
        worst = np.maximum(worst, difference)
        squares.append(difference.astype(float) ** 2)
    assert [entry["largest"] for entry in report["actions"]] == pytest.approx(worst, rel=1e-5)
    expected = np.sqrt(np.mean(squares, axis=0))
    assert [entry["rms"] for entry in report["actions"]] == pytest.approx(expected, rel=1e-5)


def test_a_baseline_is_acted_along_too(replay, changed):
    status, report = replay(changed, "--baseline", changed, "--tolerance", "0")
    assert (status, report["baseline"]) == (0, str(changed))
    status, report = replay(NAME, "--baseline", changed)  # without a tolerance all passes
    assert status == 0 and max(entry["largest"] for entry in report["actions"]) > 0.0


def test_states_outside_their_bounds_are_counted(replay, monkeypatch):
    from ncp_control.audit.interval_circuit import Interval

    def tight(policy):
        size = policy.circuit.cell.state_size
        return Interval(np.full(size, -1e-6), np.full(size, 1e-6))

    monkeypatch.setattr("ncp_control.commands.replaying.certified_state", tight)
    assert replay(NAME)[1]["share_of_states_outside"] == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tolerance", "0.1"], "`tolerance` must be left out without --replay"),
        (["--baseline", NAME], "`baseline` must be left out without --replay"),
        (["--replay", "x.mcap", "--record"], "`record` must be left out of a replay"),
        (["--replay", "x.mcap", "--tolerance", "-1"], "`tolerance` must"),
    ],
)
def test_settings_that_have_no_use_are_refused(type_command, capsys, words, message):
    assert type_command(run_policy, RunPolicy, NAME, *words) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_a_recording_of_another_body_is_refused(refuse, recording):
    words = ["drive-ncp", "--replay", recording]
    refuse(run_policy, RunPolicy, words, "`policy` does not fit the recording")
    refuse(run_policy, RunPolicy, [NAME, "--replay", "no.mcap"], "does not exist")


def test_without_mcap_a_recording_is_refused_with_what_to_install(refuse, recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcap.reader", None)
    for words in (["--record"], ["--replay", recording]):
        told = r"mcap is missing, .* `pip install ncp-control\[record\]`"
        refuse(run_policy, RunPolicy, [NAME, *words], told)
    refuse(run_policy, RunPolicy, [NAME, "--replay", "no.mcap"], "which does not exist")


@pytest.fixture
def numbers_link(monkeypatch):
    """Let run.py open a link of this process that ends soon."""
    from ncp_control.loop.clocks import RealClock

    monkeypatch.setattr(
        "ncp_control.commands.driving.open_link",
        lambda words, contract, *_, **__: Readings(contract, RealClock(), count=12),
    )


@pytest.mark.parametrize("words", [[], ["mine.mcap"], ["new/mine.mcap"]])
def test_run_records_into_its_folder_or_where_it_is_told(type_command, capsys, numbers_link, words):
    assert type_command(run_policy, RunPolicy, NAME, "--record", *words) == 0
    (path,) = [Path(words[0])] if words else Path().glob("runs/run-*/recording.mcap")
    assert f"recording: {path}, " in capsys.readouterr().out
    assert read_recording(path).policy == NAME
    if words:  # not written over
        assert type_command(run_policy, RunPolicy, NAME, "--record", *words) == 2
        assert "`record` must name a new file" in capsys.readouterr().err


def test_a_recording_cut_off_by_a_full_disk_ends_with_status_1_and_what_can_be_read(
    type_command, capsys, numbers_link, monkeypatch
):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mcap.writer.Writer.finish", fail)
    assert type_command(run_policy, RunPolicy, NAME, "--record", "mine.mcap") == 1
    printed = capsys.readouterr()
    assert re.search(r"No space left on device; 0 of \d\d ticks can be read\n", printed.err)
    assert "recording: mine.mcap, 0 ticks, " in printed.out
    assert read_recording("mine.mcap").ticks == []


def test_ncp_replay_finds_what_run_replay_finds(type_command, replay, recording, tmp_path):
    _, expected = replay(NAME)
    status = type_command(replay_drive, Replay, NAME, recording, "--tolerance", "0")
    assert status == 0
    reports = sorted(tmp_path.glob("runs/replay-*/report/replay.json"))
    assert len(reports) == 2
    found = json.loads(reports[-1].read_text())
    for report in (expected, found):
        del report["model_ms"]
    assert found == expected
    assert type_command(replay_drive, Replay, NAME, recording, "--tolerance", "-1") == 2


def test_ncp_audit_follows_a_recorded_drive(type_command, recording, policy, capsys):
    assert type_command(audit_policy, AuditPolicy, NAME, "--drive", recording) == 0
    said = capsys.readouterr().out
    asked = list(read_recording(recording).asked())
    begins = [i for i, (_, _, one) in enumerate(asked) if i and one.is_reset]
    ends = [0, *begins, len(asked)]
    longest = max((asked[a:b] for a, b in itertools.pairwise(ends)), key=len)
    assert f"shown     {len(longest)} frames" in said
    assert f"of {recording.name}" in said
    policy.reset()
    states = []
    for _, observation, one in longest:
        policy.act(observation, one.elapsed_s)
        states.append(policy.state.copy())
    names, motor = policy.circuit.cell.neuron_names, np.array(states)[:, -1]
    (row,) = [line for line in said.splitlines() if line.startswith(f"| {names[-1]} ")]
    assert f"{motor.min():.2f} to {motor.max():.2f}" in row
    assert "bounds: never violated" in said and "memory: Memory shapes the actions" in said


@pytest.mark.parametrize(
    ("job", "settings", "options"),
    [(audit_policy, AuditPolicy, []), (demo, Demo, ["--no-open"])],
)
def test_a_drive_that_was_cut_is_shown_up_to_there(
    type_command, policy, tmp_path, job, settings, options
):
    path = record(policy, tmp_path / "walk.mcap", count=300)  # 2.4 s, a chunk at least every second
    num_ticks, content = len(read_recording(path).ticks), path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert 2 < len(read_recording(path).ticks) < num_ticks
    told = f"Left out of '{path}': the file is cut off: 1 (first: byte "
    with pytest.warns(UserWarning, match=re.escape(told)):
        assert type_command(job, settings, NAME, "--drive", path, *options) == 0
