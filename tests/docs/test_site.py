"""The site's own tools: docstrings become pages, public names have one, and faults are found."""

import importlib
import sys
import zlib
from pathlib import Path

import pytest

import ncp_control

DOCS = Path(__file__).parents[2] / "docs"
pytest.importorskip("sphinx", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def tool():
    """Return a module of docs/ or docs/_ext/ by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(DOCS), str(DOCS / "_ext"), *sys.path])
        yield importlib.import_module
        for name in ("check_reading", "check_site", "docstrings", "reference_pages"):
            sys.modules.pop(name, None)


def test_every_public_name_has_a_page(tool):
    pages = tool("reference_pages")
    for name in ncp_control.__all__:
        text = pages.name_page(name)
        assert f":: ncp_control.{name}\n" in text
        assert len(text.splitlines()) > 6


PACKAGES = ["cells", "policy", "deploy.c", "deploy.onnx", "deploy.links"]
WORLDS = ["envs.driving", "envs.locomotion", "envs.recorded"]


@pytest.mark.parametrize("package", [*(f"ncp_control.{name}" for name in PACKAGES), *WORLDS])
def test_every_name_that_a_package_offers_is_linked(tool, package):
    module = importlib.import_module(package)
    text = tool("reference_pages").module_page(module)
    top = package.partition(".")[0]
    assert all(f"`{name} <{top}." in text for name in module.__all__)


def test_all_three_packages_have_pages(tool):
    names = set(tool("reference_pages").public_paths())
    assert {"envs", "envs.conditions", "envs.driving.road", "policies", "policies.driving"} < names
    assert "envs.recorded.text" not in names and "ncp_control.files" not in names


def test_public_names_are_those_that_a_module_defines(tool):
    road = importlib.import_module("envs.driving.road")
    names = tool("reference_pages").public_names(road)
    assert {"TRAIN_TRACKS", "Road", "make_road"} < set(names)  # make_road keeps its results
    assert "np" not in names and "sample_spline" not in names
    assert not any(name.startswith("_") for name in names)


def test_a_name_without_an_entry_is_found(tool, tmp_path, monkeypatch):
    check = tool("check_site")
    road = importlib.import_module("envs.driving.road")
    monkeypatch.setattr(check, "public_modules", lambda: [road])
    names = tool("reference_pages").public_names(road)
    entries = [f"ncp_control.{name}" for name in ncp_control.__all__]
    entries += [f"envs.driving.road.{name}" for name in names if name != "make_road"]
    lines = "".join(f"{entry} py:data 1 page.html -\n" for entry in entries)
    head = "# Sphinx inventory version 2\n# Project: p\n# Version: 1\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    (tmp_path / "objects.inv").write_bytes(head.encode() + zlib.compress(lines.encode()))
    assert check.missing_names(tmp_path) == [
        "envs.driving.road.make_road has no entry in the reference."
    ]


def test_a_tutorial_without_its_notebook_is_found(tool, tmp_path):
    (tmp_path / "tutorials").mkdir()
    (tmp_path / "tutorials/index.html").write_text("")
    (tmp_path / "tutorials/one.html").write_text('<a href="../_downloads/12/one.ipynb">n</a>')
    (tmp_path / "tutorials/two.html").write_text('<a href="../_downloads/12/one.ipynb">n</a>')
    assert tool("check_site").missing_notebooks(tmp_path) == [
        "tutorials/two.html has no link to two.ipynb."
    ]


def test_a_help_becomes_headings_and_definitions(tool):
    text = tool("reference_pages").command_page(("scripts/evaluate.py",))
    assert text.startswith("# `python scripts/evaluate.py`\n")
    assert "## Positional arguments\n\n`PATH`\n: Folder of the policy" in text
    assert "\n`--km {None}|FLOAT`\n: Kilometres" in text
    assert "gymnasium:\\<id\\>" in text and "--import MODULE" in text
    assert text.count("```") % 2 == 0


def test_docstrings_become_restructured_text(tool):
    convert = tool("docstrings").convert
    text = [
        "Run a `Cell` of `x`s.",
        "",
        "    τ dv/dt = −v",
        "",
        "| a | b |",
        "|---|---|",
        "| 1 | `c` |",
    ]
    assert convert(text) == [
        "Run a :py:obj:`Cell <ncp_control.Cell>` of ``x``\\ s.", "",
        "::", "", "    τ dv/dt = −v", "", "",
        ".. list-table::", "   :header-rows: 1", "", "   * - a", "     - b", "   * - 1",
        "     - ``c``", "",
    ]  # fmt: skip
    told = ["*Do* it.", "", "Args:", "    x_: Of a * b."]
    assert convert(told) == ["*Do* it.", "", "Args:", "    x\\_: Of a \\* b."]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html">b</a>', "links to b.html, which is not there"),
        ('<a href="#there">b</a>', "that page has no such place"),
        ('<script src="https://cdn.test/x.js"></script>', "from elsewhere"),
        ('<img src="gone.png">', "links to gone.png, which is not there"),
        ('<h1 id="here"></h1><a href="#here">b</a><a href="https://a.test">c</a>', None),
    ],
)
def test_faults_of_a_site_are_found(tool, tmp_path, body, fault):
    (tmp_path / "a.html").write_text(f"<html><body>{body}</body></html>")
    faults = tool("check_site").faults_of(tmp_path)
    assert [fault in found for found in faults] == [True] if fault else faults == []


HEAD = '<html lang="en"><head><meta name="viewport" content="x"><title>t</title></head><h1>a</h1>'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HEAD + '<h2 id="a">b</h2><img src="b" alt=""><a href="x"><img src="c" alt="c"></a>', None),
        (HEAD.replace(' lang="en"', ""), "has not a language"),
        (HEAD.replace("<title>t</title>", "<title></title>"), "has not a title"),
        (HEAD.replace("meta", "link"), "has not a viewport"),
        (HEAD + "<h3>b</h3>", "goes from a heading of level 1 to one of 3"),
        (HEAD + "<h1>b</h1>", "has 2 headings of the first level, not one"),
        (HEAD + '<img src="b.png">', "shows b.png without a text"),
        (HEAD + '<a href="x"><img src="b.png" alt=""></a>', "has a link without a name"),
        (HEAD + '<button><svg><path d=""/></svg></button>', "has a button without a name"),
        (HEAD + '<p id="a"></p><p id="a"></p>', "has two places of the name a"),
    ],
)
def test_faults_for_those_who_do_not_see_a_page_are_found(tool, text, fault):
    assert tool("check_reading").Reading(text).faults == ([fault] if fault else [])


def test_the_inspectors_page_is_fit_to_be_read_aloud(tool):
    page = DOCS.parent / "ncp_control/audit/page/inspector.html"
    assert tool("check_reading").Reading(page.read_text()).faults == []
