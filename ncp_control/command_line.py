"""Command-line handling of all jobs: parse settings, run the job, and report errors and stops."""

import contextlib
import ctypes
import dataclasses
import functools
import importlib
import io
import itertools
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from tqdm import tqdm

from ncp_control import files
from ncp_control.devices import usable_cores
from ncp_control.imports import import_modules, own_frame
from ncp_control.learning.run import Run, watch_runs
from ncp_control.names import check_name
from ncp_control.plain_warnings import warnings_as_lines

SPIN_COUNT = "10000"
"""Number of turns of GNU OpenMP's waiting loop after which torch's idle threads sleep. The default
of 300,000 takes longer than the kernel of a circuit, so idle threads would block the cores."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_STOPS = (signal.SIGTERM, signal.SIGHUP)
_PIPE_STATUS = 128 + 13
"""Exit status that shells show for a program which SIGPIPE ended."""
_MAY_BE_EMPTY = ("encoder",)
"""List options that may be given without a value: `--encoder` alone means no encoder."""
_IMPORT_HELP = """
Every job also takes, once or more:
  --import MODULE    import a module of your own first, from this folder or the Python path, so that
                     the cells, wirings, heads, worlds and readers it registers are known by name
"""


class Stopped(KeyboardInterrupt):
    """Raised when a signal stops the job; a KeyboardInterrupt, so jobs save as they do at Ctrl-C.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Command(NamedTuple):
    """One of several jobs of a script; its code is imported only when the job is chosen."""

    settings: str
    """Class of the settings, as module:class."""
    run: str
    """Function that runs the job with these settings, as module:function."""


def find(path: str) -> Any:
    """Import a class or function by its path, e.g. "scripts.training.drive:Drive"."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def run_command(commands: Mapping[str, Command], settings: Any) -> None:
    """Run the job whose settings class is that of `settings`."""
    kind = type(settings)
    (command,) = (
        command
        for command in commands.values()
        if command.settings == f"{kind.__module__}:{kind.__name__}"
    )
    find(command.run)(settings)


def use_threads(number: int | None) -> None:
    """Set the number of threads that torch uses; every job calls this first.

    Small circuits are fastest with one thread, convolutions with all cores.

    Args:
        number: Number of threads; if None: the environment variable OMP_NUM_THREADS, or all cores
            that this process may use.
    """
    import torch

    text = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = int(text) if text.isdecimal() and int(text) else usable_cores()
    torch.set_num_threads(number or all_cores)


def _keep_memory() -> None:
    """Make glibc keep the memory that a training step frees, for the next step.

    By default it returns blocks above 32 MiB to the system. The next step then has a page fault for
    every 4 KiB, which takes as long as the kernels of a circuit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, num_bytes in ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(parameter, num_bytes)


def run_job(job: Callable[[Any], None], settings: Any, description: str | None) -> None:
    """Parse the command line and run the job.

    If an error was raised in or below a user's own module, the message names the line in that
    module. If a new run holds a training checkpoint, any message says how to resume it. Warnings
    are printed in one line.

    | what happens                                          | exit status   |
    |-------------------------------------------------------|---------------|
    | a wrong setting, or a file that cannot be read or     | 2             |
    | written: one sentence, no run folder without a result |               |
    | Ctrl-C, or signal n of SIGTERM and SIGHUP: one line   | 130, 128 + n  |
    | that says what was saved, if the job has runs         |               |
    | printing to a closed pipe, e.g. of head, without a run| 141           |

    Args:
        job: Function that runs the job with the parsed settings.
        settings: Dataclass of the settings; or commands by name, chosen by the first word.
        description: First paragraph of `--help`.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # OpenMP reads it when torch is imported later
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    _keep_memory()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # for a user's own modules, e.g. of --world
    stop: KeyboardInterrupt | None = None
    asked: Any = None

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal stop
        stop = Stopped(number)
        raise stop

    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, handle)
    with watch_runs() as runs, warnings_as_lines():
        try:
            words = _import_own_modules(sys.argv[1:])
            asked = _parse(settings, description, words)
            job(asked)
            sys.stdout.flush()
        except KeyboardInterrupt as interrupt:
            _end_stopped(stop or interrupt, runs, asked)
        except (ValueError, OSError) as error:
            if stop is not None:  # e.g. the terminal was closed, so printing failed
                _end_stopped(stop, runs, asked)
            if isinstance(error, BrokenPipeError) and not runs and own_frame(error) is None:
                _end("", _PIPE_STATUS)  # whoever reads has read enough, e.g. head
            _remove_unused(runs)
            message = f"error: {_sentence(error)}{_place(error)}"
            if advice := _advice_after(error, runs, asked):
                message = f"{message.rstrip('.')}; {advice}"
            _end(message, 2)
        except Exception as error:
            if advice := _advice_after(error, runs, asked):
                error.add_note(advice)
            raise


def _place(error: ValueError | OSError) -> str:
    """Return the last line of a user's own module in an error's traceback, or "" if there is none.

    Also "" for OSErrors, because they name the file.
    """
    frame = None if isinstance(error, OSError) else own_frame(error)
    return "" if frame is None else f" (in {frame.filename}, line {frame.lineno})"


def _sentence(error: ValueError | OSError) -> str:
    """Return an error as one sentence, with the name of the file if it is an OSError."""
    if not isinstance(error, OSError) or (error.errno is None and error.filename is None):
        return str(error)
    name = "standard output" if isinstance(error, BrokenPipeError) else error.filename
    return str(error.strerror) if name is None else f"{error.strerror}: {name}"


def _resume_with(runs: Sequence[Run], settings: Any) -> str:
    """Return how to resume the first run that holds a training checkpoint, or "" if none does."""
    begun = [run for run in runs if run.is_begun] if hasattr(settings, "resume") else []
    return f"resume it with --resume {shlex.quote(str(begun[0].folder))}" if begun else ""


def _advice_after(error: Exception, runs: Sequence[Run], settings: Any) -> str:
    """Return how to resume a new run after an error; "" if it cannot be, or it has diverged."""
    advice = _resume_with(runs, settings)
    if not advice or settings.resume is not None:
        return ""
    from ncp_control.learning.divergence import DivergenceError  # imports torch

    return "" if isinstance(error, DivergenceError) else advice


def _end_stopped(stop: KeyboardInterrupt, runs: Sequence[Run], settings: Any) -> NoReturn:
    """Report what a stopped job has saved and how to resume it, and exit."""
    with _no_further_stop():
        files.remove_unfinished()
        left = _remove_unused(runs)
    line = "stopped"  # a job without a run may have saved something or not
    if runs:
        clauses = [run.kept() for run in left]
        removed = [run.folder for run in runs if run not in left]
        clauses += [f"{folder} held nothing yet and was removed" for folder in removed]
        clauses += filter(None, [_resume_with(left, settings)])
        saved = "what was saved so far stays" if left else "nothing was saved yet"
        line = f"stopped: {saved}: {'; '.join(clauses)}"
    number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
    _end(f"\n{line}", 128 + number)


@contextlib.contextmanager
def _no_further_stop() -> Iterator[None]:
    """Ignore further Ctrl-C and signals while a job ends."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, *_STOPS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_unused(runs: Sequence[Run]) -> list[Run]:
    """Remove the folders of unused runs; return the other runs."""
    left = [run for run in reversed(runs) if not run.remove_if_unused()]
    return left[::-1]  # the first run, which may have made the folder of all, goes last


def _end(sentence: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may be closed
        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()  # so that the sentence starts on a new line
        if sentence:
            print(sentence, file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # a closed pipe or a full disk; Python would fail again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _import_own_modules(words: Sequence[str]) -> list[str]:
    """Import the modules of `--import`, and those of the run that is resumed.

    Returns:
        The words of the command line without `--import`.

    Raises:
        ValueError: If a module cannot be imported.
    """
    names, rest = _take("--import", words)
    for folder in _take("--resume", words)[0]:
        # The job itself reports a folder that is not a run, or is damaged.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            names += json.loads((Path(folder) / "config.json").read_text())["imports"]
    import_modules(names)
    return rest


def _take(option: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the values of an option, given as `--option VALUE` or `--option=VALUE`, and the rest.

    Raises:
        ValueError: If the last word is the option, without a value.
    """
    values, rest, left = [], [], iter(words)
    for word in left:
        if word == option:
            value = next(left, None)
            if value is None:
                raise ValueError(f"`{option[2:]}` must have a value, got none.")
            values.append(value)
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    return values, rest


def _parse(settings: Any, description: str | None, words: Sequence[str]) -> Any:
    """Read the command line.

    Raises:
        ValueError: If the first word is not a command, or the settings refuse a value. The message
            is that of the settings; tyro would print it in a frame.
        SystemExit: After `--help`, or if tyro cannot parse the words.
    """
    if not isinstance(settings, Mapping):
        return parse_words(settings, words, description)
    word, *words = words or [""]
    if word in ("", "--help", "-h"):
        text = f"{(description or '').strip()}\n{_IMPORT_HELP}"
        print(text, file=sys.stdout if word else sys.stderr)
        sys.exit(0 if word else 2)
    check_name("job", word, settings)
    chosen = find(settings[word].settings)
    return parse_words(chosen, words, None, prog=f"{Path(sys.argv[0]).name} {word}")


def _refuse_bare_lists(settings: Any, words: Sequence[str]) -> None:
    """Refuse a list option without values if its default is empty, because it has no effect.

    Raises:
        ValueError: If there is such an option.
    """
    for word, following in itertools.pairwise([*words, "--"]):
        if not word.startswith("--") or "=" in word or not following.startswith("--"):
            continue
        name = word.removeprefix("--").replace("-", "_")
        if name not in _MAY_BE_EMPTY and _default(settings, *name.split(".")) == ():
            raise ValueError(
                f"`{name}` must be at least one value, got none. Name some, or leave {word} out."
            )


def _default(settings: Any, name: str, *within: str) -> Any:
    """Return the default of a setting, or of a nested setting; MISSING if it has none."""
    fields = dataclasses.fields(settings) if dataclasses.is_dataclass(settings) else ()
    for field in fields:
        if field.name == name:
            made = field.default_factory
            value = field.default if made is dataclasses.MISSING else made()
            return functools.reduce(
                lambda one, part: getattr(one, part, dataclasses.MISSING), within, value
            )
    return dataclasses.MISSING


def parse_words(
    settings: Any, words: Sequence[str], description: str | None, *, prog: str | None = None
) -> Any:
    """Parse words into settings; messages of the settings' own checks replace those of tyro.

    If the class of the settings names a field in `words_behind`, that field gets the words after
    ` -- `, as one text.
    """
    import tyro

    rest = getattr(settings, "words_behind", None)
    if rest is not None and "--" in words:
        at = list(words).index("--")
        words = [*words[:at], f"--{rest}={shlex.join(words[at + 1 :])}"]
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            parsed = tyro.cli(settings, description=description, args=words, prog=prog)
        _refuse_bare_lists(parsed, words)
        return parsed
    except SystemExit as stop:
        if not stop.code and {"-h", "--help"} & set(words):
            print(_IMPORT_HELP)
        error: BaseException | None = stop
        while error is not None:
            # Messages of settings start with the name of the setting; int's and float's do not.
            if isinstance(error, ValueError) and str(error).startswith("`"):
                raise error from None
            error = error.__context__
        print(output.getvalue(), end="", file=sys.stderr)
        raise
