"""What `--help` says, and that it takes no heavy library to say it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ncp_control
from ncp_control.command_line import find
from ncp_control.commands import ncp
from scripts.options import BUILT_IN, REGISTRIES
from scripts.training.jobs import JOBS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "gymnasium", "stable_baselines3", "matplotlib", "scipy", "mujoco", "cv2")
SCRIPTS = sorted(p.stem for p in ROOT.glob("scripts/*.py") if "run_job(" in p.read_text())
"""All jobs; before they import torch, they say how its threads wait."""
LIGHT = [
    *([f"scripts/{script}.py"] for script in SCRIPTS),
    *(["scripts/train.py", job] for job in JOBS),
    *(["ncp_control/commands/ncp.py", *job] for job in ([], *([name] for name in ncp.JOBS))),
]
"""Words of the commands whose `--help` comes at once."""
SPY = """
import json, runpy, sys
script, *words, heavy = sys.argv[1:]
sys.argv = [script, *words]
try:
    runpy.run_path(script, run_name="__main__")
finally:
    loaded = [name for name in json.loads(heavy) if name in sys.modules]
    print("loaded:", json.dumps(loaded), file=sys.stderr)
"""


def spy(script, *words):
    """Run a script; return its exit status, what it printed, and the heavy libraries it loaded."""
    path = str(ROOT / script)
    done = subprocess.run(
        [sys.executable, "-c", SPY, path, *words, json.dumps(HEAVY)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    *said, loaded = done.stderr.splitlines()
    return done.returncode, done.stdout + "\n".join(said), json.loads(loaded.split(":", 1)[1])


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_help_imports_nothing_heavy(words):
    status, printed, loaded = spy(*words, "--help")
    assert (status, loaded) == (0, [])
    assert len(printed) > 300


def test_the_script_lists_its_jobs_and_each_lists_its_settings():
    _, printed, _ = spy("scripts/train.py", "--help")
    assert all(f"scripts/train.py {name} " in printed for name in JOBS)
    _, printed, _ = spy("scripts/train.py", "ppo", "--help")
    assert "usage: train.py ppo" in printed and "--actor-lr-scale" in printed
    assert "Saved policy whose circuit is trained further" in printed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "python scripts/train.py drive"),
        (["pppo"], "error: `job` must be one of .*'pppo'. Did you mean 'ppo'?"),
    ],
)
def test_a_command_without_a_job_says_which_there_are(words, sentence):
    status, printed, loaded = spy("scripts/train.py", *words)
    assert (status, loaded) == (2, [])
    assert sentence.split(".*")[-1] in printed


def test_the_package_imports_what_it_offers_on_first_use():
    code = (
        "import sys, ncp_control; print('torch' in sys.modules, 'LTC' in dir(ncp_control));"
        "ncp_control.NCP19; print('torch' in sys.modules); ncp_control.ncps_modules;"
        "from ncp_control import from_ncps; print(callable(from_ncps), ncp_control.policy.Policy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == [
        "False True",
        "False",
        "True <class 'ncp_control.policy.base.Policy'>",
    ]


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(ncp_control, name) is not None for name in ncp_control.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'LTD'"):
        _ = ncp_control.LTD  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_option_texts_name_what_is_registered(kind):
    ours = [
        name for name in find(REGISTRIES[kind]) if find(REGISTRIES[kind]).module_of(name) is None
    ]
    assert sorted(ours) == BUILT_IN[kind]
