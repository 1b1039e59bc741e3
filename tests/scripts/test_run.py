"""`run.py` as a person types it, where it must refuse."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import envs  # noqa: F401 - registers the worlds
from ncp_control.deploy.links.base import open_here
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.policy import load
from scripts.run import RunPolicy, run_policy


def run_with_worlds(settings):
    run_policy(settings, ["envs"])


def write_video(path, num_frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (200, 78))
    for _ in range(num_frames):
        writer.write(np.full((78, 200, 3), 90, np.uint8))
    writer.release()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--link", "foo"], "error: `link` must be one of .*, got 'foo'"),
        (["--link", "video:none.mp4"], "error: `link` must name a video .*, got 'none.mp4'"),
        (["--link-options", "nope"], "error: `link_options` must be words .*, got 'nope'"),
        (["--link-options", "sed=3"], "error: `link_options` .* got 'sed'. Did you mean 'seed'"),
        (["--link", "video:0", "--link-options", "crop=0"], "error: .* Did you mean 'crop_top'"),
        (["--link-options", "clock=3"], "error: `link_options` must be one of .*, got 'clock'"),
        (
            ["--link-options", "seed=x"],
            "error: `seed` must be a whole number of at least 0, got 'x'",
        ),
        (["--link", "world:walker2"], "error: `world` .* Did you mean 'walker2d'"),
        (["--link", "world:walker2d"], "error: `policy` does not fit the world 'Walker2d-v5'"),
    ],
)
def test_a_link_that_is_refused_leaves_no_run_and_tells_of_none(
    words, told, type_command, tmp_path, capfd
):
    assert type_command(run_with_worlds, RunPolicy, "drive-ncp", *words) == 2
    printed, errors = capfd.readouterr()
    assert re.search(f"(?m)^{told}", errors)
    assert "run folder" not in printed
    assert list(tmp_path.glob("runs/*")) == []


@pytest.mark.parametrize(("rate_hz", "is_told"), [(30, False), (10, True)])
def test_a_loop_at_another_rate_than_the_policys_is_told(
    rate_hz, is_told, type_command, tmp_path, capsys
):
    write_video(tmp_path / "a.mp4", 6)
    words = ["drive-ncp", "--link", "video:a.mp4", "--loop.rate-hz", rate_hz]
    assert type_command(run_with_worlds, RunPolicy, *words) == 0
    told = "warning: the loop has a tick every 100 ms, but the policy was made for one every 33.33"
    assert (told in capsys.readouterr().out) == is_told


def test_a_drive_tells_that_its_controller_is_rounded(type_command, tmp_path, capsys):
    write_video(tmp_path / "a.mp4", 1)
    for backend, head_weights in (("c:int8", "int8"), ("c", "float32"), ("torch", None)):
        words = ["drive-ncp", "--link", "video:a.mp4", "--backend", backend]
        assert type_command(run_with_worlds, RunPolicy, *words) == 0
        printed = capsys.readouterr().out
        assert ("rounded to int8" in printed) == (head_weights == "int8")
        told = json.loads(Path(re.search("(?m)^report: (.*)", printed)[1]).read_text())
        assert (told["backend"], told["head_weights"]) == (backend, head_weights)


@pytest.mark.parametrize("link", ["world:walker2d", "world:Walker2d-v5", "world"])
def test_a_world_has_its_short_name_as_a_link_and_keeps_the_options_of_the_policy(link):
    contract = load("walker2d-positions-ltc").contract
    name, _, target = link.partition(":")
    opened = open_here(name, contract, target, {"seed": 3}, SimulatedClock())
    assert opened.contract.world == "Walker2d-v5"
    assert opened.contract.world_options == {"observe": "positions"}
    opened.close()
