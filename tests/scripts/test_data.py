"""The jobs of `data.py`, as a person types them."""

import re

import cv2
import numpy as np
import pytest

from envs.recorded import load_recording
from ncp_control.command_line import run_command
from scripts.data import COMMANDS

pytestmark = pytest.mark.filterwarnings("ignore:Skipped:UserWarning")


def data(settings):
    run_command(COMMANDS, settings)


@pytest.fixture
def numbers(tmp_path):
    """A recording of numbers alone, whose name and units mean something in HTML."""
    folder = tmp_path / "a <b> & c"
    folder.mkdir()
    lines = [f"{0.1 * i:.1f},{0.5 * (-1) ** i if i < 80 else 0},{i}" for i in range(100)]
    (folder / "frames.csv").write_text("\n".join(["time_s,steering,speed [<i>]", *lines]))
    return folder


def test_inspect_tells_the_terminal_and_a_page(type_command, udacity_log, capsys, tmp_path, read):
    assert type_command(data, COMMANDS, "inspect", udacity_log) == 0
    printed = capsys.readouterr().out
    assert "udacity, driven by human" in printed
    assert "120 usable of 360 listed" in printed
    assert re.search(r"left out: left image missing +\| 120", printed)
    assert re.search(r"median 100 ms, 99 % at most 100 ms", printed)
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("inspect-log-")
    page = (run / "report" / "recordings.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 12 and "left image missing" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page), "the page needs another file"
    rows = {row["number"]: row for row in read(run / "report" / "numbers.csv")}
    assert float(rows["steering"]["highest"]) == pytest.approx(1.0, abs=1e-3)
    assert rows["steering"]["role"] == "action" and rows["brake"]["zero"] == "1.0"


@pytest.mark.parametrize(
    ("size", "told"),
    [("[40,80]", r"below +\|"), ("[40,160]", "below, stretched 2.0 times sideways"),
     ("[80,80]", "below, stretched 2.0 times upwards")],
)  # fmt: skip
def test_inspect_tells_how_images_are_stretched(type_command, udacity_log, capsys, size, told):
    words = ["inspect", udacity_log, "--log-options", f"image_size={size}", "crop=[0.0,0.0]"]
    assert type_command(data, COMMANDS, *words) == 0
    assert re.search(told, capsys.readouterr().out)


def test_inspect_of_numbers_alone_says_what_is_unlike(type_command, numbers, capsys, tmp_path):
    assert type_command(data, COMMANDS, "inspect", numbers) == 0
    printed = capsys.readouterr().out
    assert "none, numbers alone" in printed and "note: The last fifth never steers" in printed
    (run,) = (tmp_path / "runs").iterdir()
    page = (run / "report" / "recordings.html").read_text()
    assert "The last fifth never steers" in page
    assert "a &lt;b&gt; &amp; c" in page and "<b>" not in page and "<i>" not in page


@pytest.mark.parametrize(
    ("title", "told"),
    [("speed", "m/s (assumed)"), ("speed [m/s]", "m/s"), ("speed [km/h]", "km/h")],
)
def test_inspect_marks_an_assumed_unit(type_command, numbers, capsys, title, told):
    log = numbers / "frames.csv"
    log.write_text(log.read_text().replace("speed [<i>]", title))
    assert type_command(data, COMMANDS, "inspect", numbers) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| speed ")]
    assert row.split("|")[2].strip() == told


def test_inspect_draws_a_recording_of_two_frames(type_command, numbers, capsys, tmp_path):
    log = numbers / "frames.csv"
    log.write_text("\n".join(log.read_text().splitlines()[:3]))
    assert type_command(data, COMMANDS, "inspect", numbers) == 0
    assert "2 usable of 2 listed" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    assert 'alt="actions"' in (run / "report" / "recordings.html").read_text()


def test_inspect_takes_a_folder_of_recordings_and_other_actions(
    type_command, numbers, tmp_path, capsys
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "frames.csv").write_text((numbers / "frames.csv").read_text())
    words = ("inspect", numbers, other, numbers, "--actions", "speed")
    assert type_command(data, COMMANDS, *words) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"\| speed +\| <i> +\| action +\|", printed.replace("&lt;", "<"))) == 2
    (run,) = (tmp_path / "runs").iterdir()
    assert "-and-1-more-" in run.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", "nowhere"], "got 'nowhere', which does not exist"),
        (["inspect", "NUMBERS", "--actions", "speeed"], "`actions` must be numbers of the record"),
        (["inspect", "NUMBERS", "--log-options", "camera=top"], "`log_options` must be options"),
        (["inspect"], "`log` must be at least one recording, got none"),
    ],
)
def test_bad_input_is_one_sentence(refuse, numbers, words, message):
    refuse(data, COMMANDS, [numbers if word == "NUMBERS" else word for word in words], message)


def test_convert_writes_what_reads_back_alike(type_command, udacity_log, capsys):
    first = load_recording(udacity_log)
    assert type_command(data, COMMANDS, "convert", udacity_log, "--to", "tub", "tub") == 0
    assert type_command(data, COMMANDS, "convert", "tub", "again", "--to", "lerobot") == 0
    printed = capsys.readouterr().out
    assert "tub: 120 frames in 1 episodes" in printed
    assert "numbers: steering (action), throttle" in printed
    again = load_recording("again")
    (before,), (after,) = first.episodes, again.episodes
    assert again.format == "lerobot" and again.actions == ("steering",)
    np.testing.assert_array_equal(before.numbers["steering"], after.numbers["steering"])
    np.testing.assert_allclose(before.time_s, after.time_s, atol=1e-6)
    assert before.image_paths[7].read_bytes() == after.image_paths[7].read_bytes()


def test_convert_takes_other_actions_and_keeps_frames_without_a_number(type_command, numbers):
    with (numbers / "frames.csv").open("a") as file:
        file.write("\n10.0,0,\n")
    words = ("convert", numbers, "arm", "--to", "lerobot", "--actions", "speed")
    assert type_command(data, COMMANDS, *words, "--task", "push") == 0
    again = load_recording("arm")
    assert again.actions == ("speed",) and len(again) == 101
    speed = again.episodes[0].numbers["speed"]
    np.testing.assert_array_equal(speed, [*range(100), np.nan])


@pytest.fixture
def angles(tmp_path):
    """A drive with a camera, and steering in degrees up to 20, positive to the left."""
    folder = tmp_path / "angles"
    folder.mkdir()
    steering = 20.0 * np.sin(np.arange(30) / 5)
    steering[8] = 20.0
    for i in range(30):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((40, 60, 3), 8 * i, np.uint8))
    lines = [f"{0.05 * i:.2f},{i}.png,{angle:.6f}" for i, angle in enumerate(steering)]
    (folder / "frames.csv").write_text("\n".join(["time_s,path,steering [deg]", *lines]))
    return folder, steering


def test_an_angle_is_converted_to_a_fraction_of_the_largest(type_command, angles, capsys):
    folder, steering = angles
    words = ["convert", folder, "tub", "--to", "tub"]
    assert type_command(data, COMMANDS, *words) == 2
    assert "or convert an angle with --max-steer-deg." in capsys.readouterr().err
    assert type_command(data, COMMANDS, *words, "--max-steer-deg", "25") == 0
    tub = load_recording("tub")
    np.testing.assert_allclose(tub.episodes[0].numbers["steering"], steering / 25.0, atol=1e-6)
    assert (
        type_command(data, COMMANDS, *words[:2], "exact", "--to", "tub", "--max-steer-deg", 20) == 0
    )
    assert load_recording("exact").episodes[0].numbers["steering"].max() == 1.0


@pytest.mark.parametrize(
    ("name", "degrees", "message"),
    [
        ("angles", 15, "`max_steer_deg` must be at least 20, the largest steering in .*, got 15"),
        ("angles", 0.4, "`max_steer_deg` must be at least 3 degrees, got 0.4. If .* radians, give"),
        ("log", 25, "`max_steer_deg` must be left out unless .*, got \"fraction of the car's"),
    ],
)
@pytest.mark.usefixtures("angles", "udacity_log")
def test_a_largest_angle_that_cannot_be_is_one_sentence(refuse, tmp_path, name, degrees, message):
    words = ["convert", tmp_path / name, "new", "--to", "tub", "--max-steer-deg", degrees]
    refuse(data, COMMANDS, words, message)


def test_the_angle_that_is_asked_for_is_taken(type_command, angles, capsys):
    folder, _ = angles
    table = folder / "frames.csv"
    table.write_text(table.read_text().replace("20.000000", "21.833333"))
    words = ["convert", folder, "tub", "--to", "tub", "--max-steer-deg"]
    assert type_command(data, COMMANDS, *words, "20") == 2
    asked = re.search(r"must be at least (\S+), the largest", capsys.readouterr().err)
    assert asked is not None and asked[1] == "21.84"
    assert type_command(data, COMMANDS, *words, asked[1]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["NUMBERS", "NUMBERS", "--to", "tub"], "`out` must not exist yet"),
        (["NUMBERS", "new", "--to", "tub"], "must have frames and steering in"),
        (["nowhere", "new", "--to", "tub"], "got 'nowhere', which does not exist"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(refuse, numbers, tmp_path, words, message):
    words = [numbers if word == "NUMBERS" else word for word in words]
    refuse(data, COMMANDS, ["convert", *words], message)
    assert not (tmp_path / "new").exists()
