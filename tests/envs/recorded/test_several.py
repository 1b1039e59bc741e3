"""Several recordings at once, and folders of them."""

import json

import pytest

from envs.recorded import load_recordings
from envs.recorded.several import find_recordings


@pytest.fixture
def tubs(tmp_path, make_tub):
    """A folder of two tubs and something else."""
    for name, angle in (("b", 0.5), ("a", -0.5)):
        make_tub(tmp_path / "tubs" / name, [{"user/angle": angle}] * 6, size=(80, 160))
    (tmp_path / "tubs" / "notes").mkdir()
    return tmp_path / "tubs"


def test_a_folder_stands_for_the_recordings_in_it(tubs):
    assert find_recordings(tubs) == [tubs / "a", tubs / "b"]
    assert find_recordings(tubs / "a") == [tubs / "a"]
    assert find_recordings(tubs / "notes") == [tubs / "notes"]
    first, second = load_recordings([tubs])
    assert first.episodes[0].numbers["steering"][0] == 0.5
    assert second.episodes[0].numbers["steering"][0] == -0.5


def test_one_that_is_of_no_use_is_named_once_and_the_others_are_used(tubs, tmp_path):
    (tubs / "a" / "catalog_0.catalog").unlink()
    (tubs / "a" / "catalog_1.catalog").unlink()
    with pytest.warns(UserWarning, match="Nothing of '.*tubs/a' is used: `catalog_0") as told:
        (only,) = load_recordings([tubs])
    assert only.folder == tubs / "b"
    assert len(told) == 1


def test_a_path_that_does_not_exist_is_no_recording_of_no_use(tubs):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_recordings([tubs, tubs / "nowhere"])


def test_none_of_use_is_refused(tubs):
    for name in "ab":
        (tubs / name / "manifest.json").write_text("{}")
    with (
        pytest.warns(UserWarning, match="Nothing of"),
        pytest.raises(ValueError, match="`log` must name a recording that can be used, got 2"),
    ):
        load_recordings([tubs])


def test_the_same_recording_twice_is_refused(tubs):
    with pytest.raises(ValueError, match="`log` must name each recording once"):
        load_recordings([tubs, tubs / "b"])


def test_what_the_first_has_is_asked_of_the_others(tubs):
    catalogs = [tubs / "b" / f"catalog_{i}.catalog" for i in range(2)]
    for catalog in catalogs:
        records = [json.loads(line) for line in catalog.read_text().splitlines()]
        for record in records:
            del record["user/throttle"]
        catalog.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.warns(UserWarning, match=r"Nothing of '.*b' is used: `actions` must be numbers"):
        (only,) = load_recordings([tubs], actions=["steering", "throttle"])
    assert only.actions == ("steering", "throttle")
    with pytest.raises(ValueError, match="`log` must fit the first .*b': .* got 'throttle'"):
        load_recordings([tubs / "a", tubs / "b"], actions=["steering", "throttle"])


def test_an_option_goes_to_the_readers_that_have_it(tubs, tmp_path, make_udacity):
    log = make_udacity(tmp_path / "log", range(0, 400, 50), [0.2] * 8,
                       cameras=("center", "left", "right"))  # fmt: skip
    options = {"side_steering_offset": 0.1, "crop": [0.25, 0.0]}
    loaded = load_recordings([log, tubs], options=options)
    assert [one.framing.crop for one in loaded] == [[0.25, 0.0]] * 3
    with pytest.raises(ValueError, match="`log_options` must be options .* got 'colour'. They"):
        load_recordings([log, tubs], options={"colour": 1})
    with pytest.warns(UserWarning, match="'log' and 'a' are cropped differently"):
        load_recordings([log, tubs / "a"])


def test_cameras_of_different_shapes_are_told(tmp_path, make_tub):
    sizes = {"mon/data": (120, 160), "large": (240, 320), "tue/data": (90, 160)}
    tubs = {name: make_tub(tmp_path / name, [{}] * 6, size=size) for name, size in sizes.items()}
    load_recordings([tubs["mon/data"], tubs["large"]])
    told = r"shapes: '\S*mon/data' 120 x 160, '\S*tue/data' 90 x 160, height x width"
    with pytest.warns(UserWarning, match=told):
        load_recordings([*tubs.values()])


def test_different_frame_rates_are_told_and_jitter_is_not(tmp_path):
    def write(name, times_s):
        (tmp_path / name).mkdir()
        lines = ["time_s,steering,speed", *(f"{time_s:.3f},0,1" for time_s in times_s)]
        (tmp_path / name / "frames.csv").write_text("\n".join(lines))
        return tmp_path / name

    steady = write("steady", [0.05 * i for i in range(9)])
    jittering = write("jittering", [0.05 * i + 0.02 * (i % 3 == 0) for i in range(9)])
    slow = write("slow", [0.2 * i for i in range(9)])
    load_recordings([steady, jittering])
    with pytest.warns(UserWarning, match="frame rates: 'steady' 20 Hz, 'slow' 5 Hz"):
        load_recordings([steady, slow])
