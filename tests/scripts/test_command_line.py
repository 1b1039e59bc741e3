"""How a job ends: by a signal, by an error, or because nobody takes what it prints."""

import errno
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass, make_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from ncp_control.command_line import use_threads
from ncp_control.learning.demonstrations import DemonstrationWriter
from ncp_control.learning.run import Run
from scripts.training.imitation_settings import Drive


@dataclass(frozen=True)
class Nothing:
    """No settings."""


@dataclass(frozen=True)
class Resumed:
    """Settings of a job that can be resumed."""

    resume: Path | None = None


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]


@pytest.fixture
def _handlers():
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores Ctrl-C
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_job_that_is_stopped_leaves_nothing_half_written(type_command, tmp_path, number, status):
    def record(settings):
        with DemonstrationWriter(tmp_path / "store", (2,), np.float32, 1) as writer:
            writer.append(np.zeros(2, np.float32), [0.0], 0.1)
            signal.raise_signal(number)  # to this thread, so that it arrives at once
            raise AssertionError("it went on")

    assert type_command(record, Nothing) == status
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_printed_as_one_line(type_command):
    printed = []

    def warn(settings):
        printed.append(warnings.formatwarning("Skipped: 1.", UserWarning, "reader.py", 3))

    before = warnings.formatwarning
    assert type_command(warn, Nothing) == 0
    assert printed == ["warning: Skipped: 1.\n"]
    assert warnings.formatwarning is before


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_stopped_job_says_in_one_line_what_it_saved(
    type_command, capsys, tmp_path, number, status
):
    unused = []

    def learn(settings):
        run = Run.create("drive", "ncp", settings, root=tmp_path)
        run.log(3, loss=0.5)
        unused.append(Run.create("drive", "cnn", settings, root=tmp_path).folder)
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:  # as all that saves something at Ctrl-C
            (run.checkpoints / "last").mkdir(parents=True)
            raise

    assert type_command(learn, Nothing) == status
    (run,) = tmp_path.iterdir()
    assert "drive-ncp-" in run.name, "the run in which nothing was learned is gone"
    assert capsys.readouterr().err.split("\n") == [
        "",
        f"stopped: what was saved so far stays: {run} holds checkpoints/last, metrics.csv up to"
        f" step 3; {unused[0]} held nothing yet and was removed",
        "",
    ]


def test_a_refused_job_leaves_no_empty_folder(type_command, tmp_path):
    def refuse(settings):
        for model in ("ncp", "cnn"):
            Run.create("drive", model, settings, root=settings.runs)
        raise ValueError("`link_options` must be one of ['seed'], got 'foo'.")

    for root, left in (("new/of/mine", []), ("mine", ["mine"])):
        runs = tmp_path / root
        if left:
            runs.mkdir()
        assert type_command(refuse, make_dataclass("Settings", [("runs", Path, runs)])) == 2
        assert [path.name for path in tmp_path.iterdir()] == left


@pytest.mark.usefixtures("_handlers")
def test_a_stop_stays_one_if_the_terminal_goes_with_it(type_command, capsys):
    def learn(settings):
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            raise OSError(errno.EIO, "Input/output error")  # what a progress bar then meets

    assert type_command(learn, Nothing) == 129
    assert capsys.readouterr().err == "\nstopped\n"


@pytest.mark.usefixtures("_handlers")
def test_a_job_under_nohup_goes_on_when_the_terminal_closes(type_command):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert type_command(lambda _: signal.raise_signal(signal.SIGHUP), Nothing) == 0


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EFBIG, "File too large", "a.csv"), "File too large: a.csv"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "Not a directory: a/b"),
        (FileNotFoundError("`log` must be there, got 'x'."), "`log` must be there, got 'x'."),
        (ValueError("`steps` must be 1, got 0."), "`steps` must be 1, got 0."),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe: standard output"),
    ],
)
def test_an_error_is_one_sentence_and_leaves_no_empty_run(
    type_command, capsys, tmp_path, error, sentence
):
    def learn(settings):
        run = Run.create("drive", "ncp", settings, root=tmp_path)
        with DemonstrationWriter(run.folder / "demonstrations" / "a", (2,), np.float32) as writer:
            writer.append(np.zeros(2, np.float32), [0.0], 0.1)
        raise error

    assert type_command(learn, Nothing) == 2
    told = capsys.readouterr().err
    if isinstance(error, ValueError):  # here, this module is the user's own
        told = re.sub(rf" \(in {re.escape(__file__)}, line \d+\)$", "", told)
    assert told == f"error: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_handlers")
def test_an_error_of_any_kind_says_how_to_resume_a_new_run(type_command, capsys, tmp_path):
    def learn(settings):
        if settings.resume is None:
            run = Run.create("drive", "ncp", settings, root=tmp_path)
        else:
            run = Run.reopen(settings.resume, step=0)
        run.checkpoints.mkdir(exist_ok=True)
        (run.checkpoints / "training.pt").touch()
        raise error

    error = ValueError("`level` must be 1, got 0.")
    assert type_command(learn, Resumed) == 2
    (run,) = tmp_path.iterdir()
    assert capsys.readouterr().err.endswith(f"); resume it with --resume {run}\n")
    assert type_command(learn, Resumed, "--resume", run) == 2
    assert "resume" not in capsys.readouterr().err
    error = KeyError("level")
    with pytest.raises(KeyError) as found:
        type_command(learn, Resumed)
    assert found.value.__notes__ == [f"resume it with --resume {str(run)[:-1]}2"]


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("made", ["metrics.csv", "live.html", "policy/config.json"])
def test_a_failed_job_keeps_what_it_made(type_command, tmp_path, made):
    def learn(settings):
        run = Run.create("drive", "ncp", settings, root=tmp_path)
        (run.folder / made).parent.mkdir(exist_ok=True)
        (run.folder / made).write_text("x")
        raise ValueError("`score` must be finite, got NaN.")

    assert type_command(learn, Nothing) == 2
    (run,) = tmp_path.iterdir()
    assert (run / made).read_text() == "x"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a closed pipe", "a full disk"])
def test_a_job_whose_output_nobody_takes_ends_with_at_most_a_sentence(where):
    """A pipe is closed by a reader such as `head`, who wants no more; a full disk is an error."""
    job = """
from dataclasses import dataclass
from ncp_control.command_line import run_job

@dataclass(frozen=True)
class Nothing:
    pass

run_job(lambda _: [print(i) for i in range(100_000)], Nothing, "")
"""
    reader, writer = os.pipe()
    os.close(reader)
    if where == "a full disk":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", job],
        env={**os.environ, "PYTHONPATH": root},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    if where == "a closed pipe":
        assert (done.returncode, done.stderr) == (141, "")
        return
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: ")


def test_threads_are_those_asked_for_or_all_cores(monkeypatch):
    before = torch.get_num_threads()
    try:
        for given, asked, expected in [
            ("3", None, 3),
            ("3", 2, 2),
            ("", None, len(os.sched_getaffinity(0))),
            ("many", 1, 1),
        ]:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
            use_threads(asked)
            assert torch.get_num_threads() == expected
        monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
        use_threads(None)
        assert torch.get_num_threads() == os.cpu_count()
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Lists:
    """Settings that are lists."""

    named: tuple[str, ...] = ()
    widths: tuple[int, ...] = (64,)
    encoder: tuple[int, ...] = ()


def test_a_list_without_a_value_is_refused_where_it_would_change_nothing(type_command, capsys):
    seen = []
    assert type_command(seen.append, Lists, "--widths") == 0
    assert seen == [Lists(widths=())], "an empty list is a value of its own here"
    assert type_command(seen.append, Lists, "--named", "--widths", "1") == 2
    assert "`named` must be at least one value, got none." in capsys.readouterr().err
    assert type_command(seen.append, Lists, "--encoder", "--named", "a") == 0
    assert seen[-1] == Lists(named=("a",))


def test_no_epoch_before_which_the_learner_drives_is_a_choice(type_command):
    """The settings of its group are empty by default, those of this job are not."""
    seen = []
    assert type_command(seen.append, Drive, "--imitation.dagger-epochs", "--seed", "1") == 0
    assert seen[0].imitation.dagger_epochs == ()
    assert type_command(seen.append, Drive, "--conditions", "--seed", "1") == 2
