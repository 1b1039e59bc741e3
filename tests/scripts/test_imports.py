"""`--import`: a user's own module, known before a job reads its settings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from ncp_control.cells import CELLS
from ncp_control.imports import (
    code_digest,
    import_function,
    import_modules,
    package_digest,
)
from ncp_control.learning.run import Run
from scripts.options import one_of

pytestmark = pytest.mark.usefixtures("own_names")
MODULE = """
from ncp_control import LSTM, register_cell

class Mine(LSTM):
    pass

register_cell("mine", Mine)
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a job that takes a cell."""

    cell: Annotated[str, one_of("cell")] = "ltc"
    """Neurons."""
    resume: Path | None = None
    """Run folder to go on with."""

    def __post_init__(self) -> None:
        CELLS.find(self.cell)


@pytest.fixture(autouse=True)
def _nothing_imported():
    yield
    import_modules([])


@pytest.fixture
def own_module(tmp_path):
    (tmp_path / "my_parts.py").write_text(MODULE)
    return "my_parts"


def learn(settings):
    Run.create("learn", settings.cell, settings, root="runs").log(0, loss=1.0)


@pytest.mark.parametrize(
    "words",
    [
        ("--import", "my_parts", "--cell", "mine"),
        ("--cell", "mine", "--import=my_parts"),
        ("--import", "json", "--cell=mine", "--import", "my_parts"),
    ],
)
def test_own_cells_are_known_before_the_settings_are_checked(
    own_module, type_command, tmp_path, words
):
    assert type_command(learn, Settings, *words) == 0
    (config,) = (tmp_path / "runs").glob("*/config.json")
    values = json.loads(config.read_text())
    assert values["settings"]["cell"] == "mine"
    assert values["imports"][-1] == "my_parts"
    assert "--import" in values["command"]


def test_a_run_that_goes_on_imports_what_it_began_with(own_module, type_command, tmp_path):
    config = tmp_path / "before" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"imports": ["my_parts"]}))
    seen = []
    for words in (["--resume", "before"], ["--resume=before"]):
        assert type_command(lambda settings: seen.append("mine" in CELLS), Settings, *words) == 0
    assert seen == [True, True]


@pytest.mark.parametrize("text", ["", "[]", '{"imports": 3}', '{"imports": [3]}'])
def test_a_damaged_run_is_the_jobs_matter(type_command, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    status = type_command(lambda settings: None, Settings, "--resume", str(tmp_path))
    assert status == (2 if text == '{"imports": [3]}' else 0)


def test_help_lists_the_flag_and_the_own_cell(own_module, type_command, capsys):
    assert type_command(learn, Settings, "--import", "my_parts", "--help") == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--import MODULE import a module of your own" in said
    assert "Neurons. (default: ltc; cfc," in said and ", mine, " in said and "or wired_cfc)" in said
    assert type_command(learn, Settings) == 0
    assert "--import MODULE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("", ["nowhere"], r"got 'nowhere': No module named 'nowhere'. Run the job in the folder"),
        ("import nowhere_else", ["broken"], r"ModuleNotFoundError: No module .*'nowhere_else', in"),
        ("\n1 / 0", ["broken"], r"ZeroDivisionError: division by zero, in line 2 of .*broken.py"),
        ("def f(:", ["broken"], r"invalid syntax, in line 1 of .*broken.py"),
        (
            "from ncp_control import LSTM, register_cell\n\nregister_cell('ltc', LSTM)",
            ["broken"],
            r"got 'ltc', which is taken by .*, in line 3 of .*broken.py",
        ),
        ("raise SystemExit(3)", ["broken"], r"got 'broken': SystemExit: 3, in line 1"),
        ("", ["broken.py"], r"got 'broken.py'. Leave out the .py"),
        ("", ["./broken"], r"`import` must name a module, got './broken'. Write it as Python"),
        ("", [], r"`import` must have a value, got none"),
        (
            "from ncp_control import *\nregister_cell('ltc', LSTM)",
            ["broken"],
            r"ValueError: `name` of a cell must be free, got 'ltc'",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(refuse, tmp_path, text, words, message):
    (tmp_path / "broken.py").write_text(text)
    refuse(learn, Settings, ["--import", *words], message)


def test_the_digest_of_a_users_code_changes_when_it_is_edited(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_world_code", "my_other_code"):
        (tmp_path / f"{name}.py").write_text("def make():\n    pass\n")
    import_function("world", "my_world_code:make")
    named = ("my_world_code:make", None, "halfcheetah", "gymnasium:Hopper-v5")
    before = code_digest(named)
    assert before and code_digest(named) == before and not code_digest(named[1:])
    import_modules(["my_other_code"])
    assert code_digest(named) != before, "what was imported counts"
    import_modules([])
    (tmp_path / "my_world_code.py").write_text("def make():\n    return 1\n")
    assert code_digest(named) not in ("", before)


def test_the_digest_of_a_function_covers_the_modules_beside_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "my_package_of_experts"
    package.mkdir()
    for file in (package / "__init__.py", package / "beside.py", tmp_path / "elsewhere.py"):
        file.write_text("")
    for file in (package / "expert.py", tmp_path / "my_lone_expert.py"):
        file.write_text("def drive():\n    pass\n")
    digests = []
    for edited in (None, package / "beside.py", tmp_path / "elsewhere.py", tmp_path / "new.py"):
        if edited is not None:
            edited.write_text("AIR_M = 0.5\n")
        names = ("my_package_of_experts.expert:drive", "my_lone_expert:drive")
        digests.append([package_digest(import_function("expert", name)) for name in names])
    in_package, alone = zip(*digests, strict=True)
    assert "" not in digests[0]
    assert in_package[0] != in_package[1] == in_package[2] == in_package[3]
    assert len(set(alone)) == 1, "beside a module in no package, anything may lie"
