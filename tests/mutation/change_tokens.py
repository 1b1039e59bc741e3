"""Change one token of a module, run its tests, and tell whether they notice.

    python tests/mutation/change_tokens.py                              200 changes over all modules
    python tests/mutation/change_tokens.py --modules ncp_control/policy/base.py --count 20
    python tests/mutation/change_tokens.py --seed 1 --jobs 2            other changes, two at a time

A change is `<` for `<=`, `+` for `-`, `and` for `or`, `True` for `False`, a number one larger, and
the like; texts, annotations and imports stay. The tests of a module are those that import it, or a
name of it, and those in the folder that mirrors its own. Changes that no test can notice, since the
program does the same, stand with their reason in `explained.json` beside this file.
"""

import argparse
import ast
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("explained.json")
MODULES = (
    "envs/driving/car.py",
    "envs/driving/lane_keeping.py",
    "envs/driving/metrics.py",
    "envs/locomotion/disturbances.py",
    "envs/recorded/assembly.py",
    "envs/recorded/donkeycar.py",
    "envs/recorded/recording.py",
    "envs/recorded/udacity.py",
    "ncp_control/audit/activity.py",
    "ncp_control/audit/bounds.py",
    "ncp_control/audit/timescales.py",
    "ncp_control/cells/cfc.py",
    "ncp_control/cells/ltc.py",
    "ncp_control/circuit.py",
    "ncp_control/files.py",
    "ncp_control/ncps_modules.py",
    "ncp_control/integrators.py",
    "ncp_control/learning/demonstrations/store.py",
    "ncp_control/learning/demonstrations/windows.py",
    "ncp_control/learning/forecasting.py",
    "ncp_control/learning/imitation.py",
    "ncp_control/learning/results.py",
    "ncp_control/learning/sequences.py",
    "ncp_control/learning/trainer.py",
    "ncp_control/learning/training_state.py",
    "ncp_control/policy/base.py",
    "ncp_control/policy/choices.py",
    "ncp_control/wiring_rules.py",
)
SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+",
    "*": "/", "/": "*", "//": "*", "%": "//", "+=": "-=", "-=": "+=", "&": "|", "|": "&",
    "and": "or", "or": "and", "True": "False", "False": "True", "min": "max", "max": "min",
    "any": "all", "all": "any", "break": "continue", "continue": "break",
}  # fmt: skip
TIMEOUT_S = 1200.0
"""Tests that run longer are taken to hang, which counts as noticed; a busy machine is slow."""
PRELOADED = (
    "torch", "torch.utils.tensorboard", "numpy", "scipy.ndimage", "scipy.interpolate", "cv2",
    "gymnasium", "mujoco", "stable_baselines3", "sb3_contrib", "matplotlib.pyplot",
    "safetensors.torch",
)  # fmt: skip
"""Libraries that every test process needs; they are imported once and forked."""


@dataclass(frozen=True)
class Change:
    """One token replaced by another."""

    module: str
    line: int
    column: int
    old: str
    new: str
    text: str
    """The whole line, without the spaces around it."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} `{self.old}` -> `{self.new}` in: {self.text}"


# --- which changes there are ----------------------------------------------------------------------


def find_changes(module: str, source: str) -> list[Change]:
    """Return every change of one token that makes another program of this source."""
    skipped = _skipped_spans(ast.parse(source))
    lines = source.split("\n")
    changes = []
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for before, token in itertools.pairwise(tokens):
        new = _replacement(before, token)
        if new is None or any(begin <= token.start < end for begin, end in skipped):
            continue
        (line, column), text = token.start, lines[token.start[0] - 1].strip()
        changes.append(Change(module, line, column, token.string, new, text))
    return [change for change in changes if _compiles(apply(change, source))]


def _replacement(before: tokenize.TokenInfo, token: tokenize.TokenInfo) -> str | None:
    if token.type == tokenize.NUMBER:
        number = ast.literal_eval(token.string)
        return repr(number + 1 if isinstance(number, int) else number * 1.5 + 0.1)
    if token.type == tokenize.NAME and token.string == "not" and before.string != "is":
        return ""
    if token.string in ("*", "**") and before.string in ("(", ",", "[", "{"):
        return None  # unpacking
    if token.type in (tokenize.OP, tokenize.NAME) and before.string != ".":
        return SWAPS.get(token.string)
    return None


def _skipped_spans(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the places whose change is no change of what the program does."""
    nodes: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
            nodes.append(node)
        elif isinstance(node, ast.AnnAssign):
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            nodes += [a.annotation for a in every if a.annotation]
            nodes += [node.returns] if node.returns else []
        elif isinstance(node, ast.Call) and _name(node.func) in ("cast", "dataclass", "warn"):
            nodes.append(node)
        elif isinstance(node, ast.Assert):
            nodes.append(node)
        elif isinstance(node, ast.Assign) and _name(node.targets[0]) == "__all__":
            nodes.append(node)
    return [
        ((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset))  # type: ignore[attr-defined]
        for n in nodes
    ]


def _name(node: ast.AST) -> str:
    """Return the last part of a name such as `warnings.warn`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def apply(change: Change, source: str) -> str:
    """Return the source with the change made."""
    lines = source.split("\n")
    line = lines[change.line - 1]
    end = change.column + len(change.old)
    lines[change.line - 1] = line[: change.column] + change.new + line[end:]
    return "\n".join(lines)


def _compiles(source: str) -> bool:
    try:
        compile(source, "changed", "exec")
    except SyntaxError:
        return False
    return True


# --- which tests concern a module -----------------------------------------------------------------


def tests_of(module: str) -> list[str]:
    """Return the test files of a module, those of its name first."""
    path = Path(module)
    dotted = ".".join(path.with_suffix("").parts)
    public = {
        node.name
        for node in ast.parse((ROOT / module).read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    namesakes, beside, importing = [], [], []
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        name, text = str(test.relative_to(ROOT)), test.read_text()
        is_beside = test.parent.relative_to(ROOT / "tests") == path.parent
        if path.stem in test.stem:
            namesakes.append(name)
        elif is_beside and len(path.parts) > 2:
            beside.append(name)
        elif dotted in text or any(_imports(text, package, public) for package in _parents(dotted)):
            importing.append(name)
    return namesakes + beside + importing


def _parents(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imports(text: str, package: str, names: set[str]) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == package
        and any(alias.name in names for alias in node.names)
        for node in ast.walk(ast.parse(text))
    )


# --- running them ---------------------------------------------------------------------------------


def run_tests(root: Path, tests: list[str]) -> int:
    """Run tests of a copy of the project in a forked child; return pytest's status."""
    process = os.fork()
    if process == 0:
        status = 3
        try:
            os.chdir(root)
            sys.path.insert(0, str(root))
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            import pytest

            options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
            status = int(pytest.main([*options, *tests]))
        finally:
            os._exit(status)
    begin = time.monotonic()
    while time.monotonic() - begin < TIMEOUT_S:
        finished, status = os.waitpid(process, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return -9


def copy_project(folder: Path) -> Path:
    """Copy the tracked files of the project, and those that git does not know yet."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_file() and not name.startswith(("results/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        os.environ.setdefault("NCP_CONTROL_DATA", str(shared / "data"))
    return folder


def work(changes: list[Change], copy: Path) -> None:
    """Try changes in a copy of the project, and print a JSON line for each."""
    for library in PRELOADED:
        __import__(library)
    survived: set[str] = set()
    for change in changes:
        path, source = copy / change.module, (ROOT / change.module).read_text()
        path.write_text(apply(change, source))
        begin = time.monotonic()
        status = run_tests(copy, tests_of(change.module))
        path.write_text(source)
        word = "noticed" if status else "SURVIVED"
        print(f"{word:9}{time.monotonic() - begin:6.1f} s  {change}", file=sys.stderr, flush=True)
        print(json.dumps(vars(change) | {"is_noticed": status != 0}), flush=True)
        survived |= {change.module} if status == 0 else set()
    # Tests that fail without a change would seem to notice every change. A change that survived has
    # shown that they pass.
    for module in sorted({change.module for change in changes} - survived):
        if run_tests(copy, tests_of(module)) != 0:
            raise RuntimeError(f"the tests of {module} fail without a change: {tests_of(module)}")


def start_worker(changes: list[Change], copy: Path) -> list[tuple[Change, bool]]:
    """Let another process try changes; return which were noticed."""
    copy_project(copy)
    (copy / "changes.json").write_text(json.dumps([vars(change) for change in changes]))
    command = [sys.executable, __file__, "--work-in", str(copy)]
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = [(line.pop("is_noticed"), line) for line in lines]
    return [(Change(**result), is_noticed) for is_noticed, result in results]


def explanation(change: Change) -> str | None:
    """Return why no test can notice a change, where somebody has written it down."""
    for known in json.loads(EXPLAINED.read_text()):
        wanted = (change.module, change.text, change.old, change.new)
        if (known["module"], known["text"], known["old"], known["new"]) == wanted:
            return known["why"]
    return None


def report(results: list[tuple[Change, bool]]) -> None:
    """Print a row a module, the changes that survived, and the share that was noticed."""
    tried, noticed = Counter(), Counter()
    for change, is_noticed in results:
        tried[change.module] += 1
        noticed[change.module] += is_noticed
    for module in sorted(tried):
        print(f"{module:55} {noticed[module]:3} of {tried[module]:3} noticed")
    for change, is_noticed in results:
        if not is_noticed:
            print(f"survived: {change}\n          {explanation(change) or 'NOT EXPLAINED'}")
    total = sum(noticed.values())
    print(f"{total} of {len(results)} noticed ({100 * total / max(len(results), 1):.1f} %)")


def main() -> None:
    """Parse the command line and try the changes."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--modules", nargs="*", default=list(MODULES))
    parser.add_argument("--count", type=int, default=200, help="changes over all modules")
    parser.add_argument("--seed", type=int, default=0, help="which changes are drawn")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--work-in", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work_in:
        values = json.loads((arguments.work_in / "changes.json").read_text())
        work([Change(**value) for value in values], arguments.work_in)
        return
    rng, drawn = random.Random(arguments.seed), []
    for i, module in enumerate(arguments.modules):
        changes = find_changes(module, (ROOT / module).read_text())
        count = (arguments.count + i) // len(arguments.modules)
        drawn += rng.sample(changes, min(count, len(changes)))
    rng.shuffle(drawn)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
        futures = [
            pool.submit(start_worker, drawn[i :: arguments.jobs], Path(temporary) / f"copy-{i}")
            for i in range(arguments.jobs)
        ]
        report([result for future in futures for result in future.result()])


if __name__ == "__main__":
    main()
