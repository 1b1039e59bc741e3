"""What all jobs share on the command line: how they read their settings and how they end."""

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
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from tqdm import tqdm

from ncp_control import files
from ncp_control.imports import import_modules
from ncp_control.learning.run import Run, watch_runs
from ncp_control.names import check_name
from ncp_control.plain_warnings import warnings_as_lines

SPIN_COUNT = "10000"
"""How long torch's idle threads spin [turns of GNU OpenMP's loop] before they sleep. Its default,
300,000, is longer than the kernel of a circuit takes: they held the cores that our threads need."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_STOPS = (signal.SIGTERM, signal.SIGHUP)
_MAY_BE_EMPTY = ("encoder",)
"""Lists that say something without a value: no encoder."""
_IMPORT_HELP = """
Every job also takes, once or more:
  --import MODULE    import a module of your own first, from this folder or the Python path, so that
                     the cells, wirings, heads, worlds and readers it registers are known by name
"""


class Stopped(KeyboardInterrupt):
    """A signal stops the job; whatever saves something at Ctrl-C saves it now as well.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Command(NamedTuple):
    """One of several jobs of a script, imported when it is chosen."""

    settings: str
    """Its settings as module:class."""
    run: str
    """What takes them, as module:function."""


def find(path: str) -> Any:
    """Import what a path names, e.g. "scripts.training.drive:Drive"."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def run_command(commands: Mapping[str, Command], settings: Any) -> None:
    """Run the one of several jobs that the settings belong to."""
    kind = type(settings)
    (command,) = (
        command
        for command in commands.values()
        if command.settings == f"{kind.__module__}:{kind.__name__}"
    )
    find(command.run)(settings)


def use_threads(number: int | None) -> None:
    """Choose how many threads torch uses; every job says so before its work.

    Small circuits are fastest with one, convolutions with all cores.

    Args:
        number: The threads; if None, all cores that this process may use, or what the environment
            variable OMP_NUM_THREADS says.
    """
    import torch

    given = os.environ.get("OMP_NUM_THREADS", "")
    all_cores = int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))
    torch.set_num_threads(number or all_cores)


def _keep_memory() -> None:
    """Let glibc keep the memory that a training step frees for the next one.

    By itself it hands all above 32 MiB back to the system; the next step then pays a page fault for
    every 4 KiB, which takes as long as the kernels of a circuit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, num_bytes in ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(parameter, num_bytes)


def run_job(job: Callable[[Any], None], settings: Any, description: str | None) -> None:
    """Parse the command line and run the job.

    An error that passed a module of the user's own tells its line there. A warning is one line.

    | what happens                                          | exit status   |
    |-------------------------------------------------------|---------------|
    | a wrong setting, or a file that cannot be read or     | 2             |
    | written: one sentence, no run folder without a result |               |
    | Ctrl-C, or signal n of SIGTERM and SIGHUP: one line   | 130, 128 + n  |
    | that says what was saved                              |               |

    Args:
        job: The job; it takes the parsed settings.
        settings: A dataclass, or commands by name, of which the first word chooses one.
        description: What `--help` says first.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # read when torch is imported, which is later
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    _keep_memory()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a user's own modules lie, e.g. for --world
    stop: KeyboardInterrupt | None = None
    asked: Any = None

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal stop
        stop = Stopped(number)
        raise stop

    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup does with SIGHUP
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
            if stop is not None:  # e.g. the terminal has gone, and what was printed with it
                _end_stopped(stop, runs, asked)
            _remove_unused(runs)
            _end(f"error: {_sentence(error)}{_place(error)}", 2)


def _place(error: ValueError | OSError) -> str:
    """Return where an error passed a user's own module, to end its sentence; "" if it did not.

    That of a file names the file, which is enough.
    """
    place = ""
    if isinstance(error, OSError):
        return place
    ours = Path(__file__).resolve().parents[1]
    folders = [ours / name for name in ("ncp_control", "envs", "policies", "scripts")]
    folders += [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename).resolve()
        is_program = path == Path(sys.argv[0]).resolve()
        is_installed = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
        is_known = is_program or is_installed or any(map(path.is_relative_to, folders))
        if path.is_file() and not is_known:
            place = f" (in {frame.filename}, line {frame.lineno})"
    return place


def _sentence(error: ValueError | OSError) -> str:
    """Return an error as one sentence, with the file that it is about."""
    if not isinstance(error, OSError) or (error.errno is None and error.filename is None):
        return str(error)
    name = "standard output" if isinstance(error, BrokenPipeError) else error.filename
    return str(error.strerror) if name is None else f"{error.strerror}: {name}"


def _end_stopped(stop: KeyboardInterrupt, runs: Sequence[Run], settings: Any) -> NoReturn:
    """Say what stays of a job that was stopped, and how it goes on, and exit."""
    with _no_further_stop():
        files.remove_unfinished()
        left = _remove_unused(runs)
    told = [run.kept() for run in left]
    told += [f"{run.folder} held nothing yet and was removed" for run in runs if run not in left]
    if hasattr(settings, "resume"):
        told += [f"go on with --resume {run.folder}" for run in left if run.is_begun][:1]
    is_empty = runs and not left
    line = "stopped: nothing was saved yet" if is_empty else "stopped: what was saved so far stays"
    line = ": ".join([line, *(["; ".join(told)] if told else [])])
    number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
    _end(f"\n{line}", 128 + number)


@contextlib.contextmanager
def _no_further_stop() -> Iterator[None]:
    """Let no second Ctrl-C or signal interrupt the end of a job."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, *_STOPS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_unused(runs: Sequence[Run]) -> list[Run]:
    """Remove the folders of runs in which nothing was learned; return the other runs."""
    return [run for run in runs if not run.remove_if_unused()]


def _end(sentence: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may have gone
        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()  # the sentence gets a line of its own
        print(sentence, file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # a closed pipe or a full disk, which Python would meet once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _import_own_modules(words: Sequence[str]) -> list[str]:
    """Import what `--import` names, and what the run that is resumed had imported.

    Returns:
        The words of the command line without `--import`.

    Raises:
        ValueError: If a module cannot be imported.
    """
    names, rest = _take("--import", words)
    for folder in _take("--resume", words)[0]:
        # A run that is none, or is damaged, is told by the job itself.
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
        ValueError: If the first word is no command, or the settings refuse a value: their own
            sentence, which tyro would frame.
        SystemExit: After `--help`, or if the words make no settings.
    """
    if not isinstance(settings, Mapping):
        return parse_words(settings, words, description)
    word, *words = words or [""]
    if word in ("", "--help", "-h"):
        said = f"{(description or '').strip()}\n{_IMPORT_HELP}"
        print(said, file=sys.stdout if word else sys.stderr)
        sys.exit(0 if word else 2)
    check_name("job", word, settings)
    chosen = find(settings[word].settings)
    return parse_words(chosen, words, None, prog=f"{Path(sys.argv[0]).name} {word}")


def _refuse_bare_lists(settings: Any, words: Sequence[str]) -> None:
    """Refuse an option that needs values and has none, where that changes nothing.

    Raises:
        ValueError: If a list that is empty by default was asked for without a value.
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
    """Return the default of a setting, or of one within it; MISSING if there is none."""
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
    """Make settings of words, with tyro's messages replaced by the settings' own sentence.

    Where the settings name a field in `words_behind`, it gets what stands behind ` -- `, as one
    text.
    """
    import tyro

    rest = getattr(settings, "words_behind", None)
    if rest is not None and "--" in words:
        at = list(words).index("--")
        words = [*words[:at], f"--{rest}={shlex.join(words[at + 1 :])}"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(settings, description=description, args=words, prog=prog)
        _refuse_bare_lists(parsed, words)
        return parsed
    except SystemExit as stop:
        if not stop.code and {"-h", "--help"} & set(words):
            print(_IMPORT_HELP)
        error: BaseException | None = stop
        while error is not None:
            # Our sentences begin with the name of the setting; int's and float's do not say it.
            if isinstance(error, ValueError) and str(error).startswith("`"):
                raise error from None
            error = error.__context__
        print(said.getvalue(), end="", file=sys.stderr)
        raise
