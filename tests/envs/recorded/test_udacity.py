import cv2
import numpy as np
import pytest

from envs.recorded import load_udacity
from envs.recorded.images import read_image

HEADER = "center,left,right,steering,throttle,brake,speed\n"


def test_true_time_stamps_become_dt(tmp_path, quiet_udacity, store_of):
    # The third frame is past midnight; the second interval is twice the usual one.
    recording = quiet_udacity(tmp_path / "log", [0, 100, 300, 400], [0.0, 0.25, -0.5, 1.0])
    store = store_of(recording.center_only(), tmp_path / "store")
    np.testing.assert_allclose(store.dt_s, [0.1, 0.1, 0.2, 0.1], atol=1e-6)
    np.testing.assert_array_equal(store.actions[:, 0], [0.0, -0.25, 0.5, -1.0])  # left positive
    assert store.observations.shape == (4, 78, 200, 3)
    assert store.meta["source"]["format"] == "udacity"


def test_observations_are_rgb_and_cropped(tmp_path, stamp, make_udacity, store_of):
    folder = make_udacity(tmp_path / "log", [0, 100], [0, 0], cameras=("center", "left", "right"))
    image = np.zeros((160, 320, 3), np.uint8)
    image[60:135] = (10, 80, 200)  # blue, green, red
    name = folder / "IMG" / f"center_{stamp(0)}"
    cv2.imwrite(str(name), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    store = store_of(load_udacity(folder).center_only(), tmp_path / "cropped")
    np.testing.assert_allclose(store.observations[0, 4:-4].mean((0, 1)), [200, 80, 10], atol=3)
    whole = load_udacity(folder, crop=(0.0, 0.0), image_size=(16, 32)).center_only()
    store = store_of(whole, tmp_path / "whole")
    assert store.observations.shape == (2, 16, 32, 3)
    assert store.observations[0, :5].max() < 20  # the sky is still there


def test_the_simulators_sky_and_bonnet_are_cut_off_to_the_row(tmp_path, stamp, make_udacity):
    """Rows 60 to 134 of its 160 are left, at eight times the resolution too."""
    folder = make_udacity(tmp_path / "log", [0, 50], [0, 0])
    rows = np.arange(160, dtype=np.uint8).repeat(8)[:, None, None]
    image = np.broadcast_to(rows, (1280, 20, 3))
    for path in (folder / "IMG").iterdir():
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    with pytest.warns(UserWarning, match="image missing"):
        recording = load_udacity(folder, image_size=(600, 20))
    seen = recording.framing.apply(read_image(recording.episodes[0].image_paths[0]))
    np.testing.assert_array_equal(seen[:, 0, 0], np.arange(60, 135).repeat(8))


def test_more_than_three_missing_frames_begin_an_episode(tmp_path, stamp, make_udacity, lengths):
    folder = make_udacity(tmp_path / "log", range(0, 600, 50), [0] * 12)
    for i in (1, 2, 3, 5, 6, 7, 8):
        (folder / "IMG" / f"center_{stamp(50 * i)}").unlink()
    with pytest.warns(UserWarning, match="center image missing: 7"):
        assert lengths(load_udacity(folder)) == [2, 3]


@pytest.mark.parametrize("header", ["", HEADER, HEADER.upper()])
@pytest.mark.parametrize("windows_paths", [True, False])
def test_header_and_paths_of_either_kind(tmp_path, header, windows_paths, make_udacity, lengths):
    cameras = ("center", "left", "right")
    folder = make_udacity(
        tmp_path / "log",
        [0, 50, 100],
        [0.1, 0.2, 0.3],
        cameras=cameras,
        header=header,
        windows_paths=windows_paths,
    )
    assert lengths(load_udacity(folder)) == [3]


def test_a_byte_order_mark_and_foreign_letters_do_no_harm(tmp_path, make_udacity, lengths):
    folder = make_udacity(tmp_path / "log", [0, 50], [0, 0], cameras=("center", "left", "right"))
    log = folder / "driving_log.csv"
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes().replace(b"Someone", b"Andr\xe9"))
    assert lengths(load_udacity(folder)) == [2]


def test_side_cameras_steer_back_to_the_middle(tmp_path, quiet_udacity):
    recording = quiet_udacity(
        tmp_path / "log", [0, 50, 100, 150], [0.0, 0.5, -0.95, 0.95], side_steering_offset=0.1
    )
    steering = {episode.camera: episode.numbers["steering"] for episode in recording.episodes}
    np.testing.assert_allclose(steering["center"], [0.0, -0.5, 0.95, -0.95])
    np.testing.assert_allclose(steering["left"], [-0.1, -0.6, 0.85, -1.0])  # more to the right
    np.testing.assert_allclose(steering["right"], [0.1, -0.4, 1.0, -0.85])  # more to the left


def test_missing_and_broken_images_are_skipped_with_one_warning(
    tmp_path, stamp, make_udacity, lengths
):
    cameras = ("center", "left", "right")
    folder = make_udacity(tmp_path / "log", [50 * i for i in range(10)], [0] * 10, cameras=cameras)
    (folder / "IMG" / f"left_{stamp(100)}").unlink()
    (folder / "IMG" / f"center_{stamp(150)}").write_bytes(b"")
    (folder / "IMG" / f"center_{stamp(200)}").write_bytes(b"no image")
    truncated = folder / "IMG" / f"center_{stamp(250)}"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    with pytest.warns(UserWarning) as caught:
        recording = load_udacity(folder)
    assert len(caught) == 1
    assert str(caught[0].message) == (
        f"Skipped 4 of the 30 images listed in '{folder}': left image missing: 1 (first:"
        f" left_{stamp(100)}); center image empty: 1 (first: center_{stamp(150)}); center image"
        f" unreadable: 1 (first: center_{stamp(200)}); center image cut off: 1 (first:"
        f" center_{stamp(250)})."
    )
    assert (recording.num_listed, recording.num_skipped) == (30, 4)
    assert recording.source["skipped"] == recording.skipped
    # Three missing frames are bridged with their true time.
    assert lengths(recording) == [7]
    np.testing.assert_allclose(recording.episodes[0].dt_s(0.05)[2:4], [0.05, 0.2], atol=1e-6)
    with pytest.warns(UserWarning):
        recording = load_udacity(folder, max_missing_frames=2)
    assert lengths(recording) == [3, 4]
    with pytest.warns(UserWarning):
        recording = load_udacity(folder, max_missing_frames=0)
    assert lengths(recording, "left") == [2, 7]


def test_side_cameras_that_are_not_listed_are_not_missed(tmp_path, make_udacity, lengths):
    folder = make_udacity(tmp_path / "log", [0, 50], [0, 0])
    log = folder / "driving_log.csv"
    lines = [line.split(",") for line in log.read_text().splitlines()]
    log.write_text("\n".join(",".join([line[0], "", "", *line[3:]]) for line in lines))
    assert lengths(load_udacity(folder)) == [2]


@pytest.mark.parametrize(
    ("times_ms", "expected"),
    [
        ([0, 50, 1050, 1100], [4]),
        ([0, 50, 1051, 1100], [2, 2]),
    ],
)
def test_a_jump_in_time_begins_an_episode(tmp_path, times_ms, expected, quiet_udacity, lengths):
    recording = quiet_udacity(tmp_path / "log", times_ms)
    assert lengths(recording) == expected
    for episode in recording.episodes:
        assert (episode.dt_s(recording.frame_s) > 0).all()


def test_a_clock_set_back_begins_an_episode_and_is_told(tmp_path, quiet_udacity, lengths):
    with pytest.warns(UserWarning, match="Time does not increase at 1 of the 4 .* first at row 2"):
        recording = quiet_udacity(tmp_path / "log", [200, 250, 100, 150])
    assert lengths(recording) == [2, 2]


def test_an_image_listed_twice_is_refused(tmp_path, quiet_udacity):
    with pytest.raises(ValueError, match=r"list each image once, got 'center_.*jpg' 2 times in"):
        quiet_udacity(tmp_path / "log", [0, 50, 50, 100])


def test_split_is_in_time_and_tests_on_the_center_camera(tmp_path, quiet_udacity, lengths):
    times_ms = [*range(0, 500, 50), *range(5000, 5500, 50)]
    recording = quiet_udacity(tmp_path / "log", times_ms, np.linspace(-0.5, 0.5, 20))
    train, test = recording.split(0.7)
    assert sorted({e.camera for e in train.episodes}) == ["center", "left", "right"]
    assert {e.camera for e in test.episodes} == {"center"}
    assert lengths(train) == lengths(train, "left") == [10, 4]
    assert lengths(test) == [6]
    latest = max(e.time_s[-1] for e in train.episodes)
    assert latest < min(e.time_s[0] for e in test.episodes)
    assert len(train) + len(test) == 14 * 3 + 6
    for fraction in (0.0, 1.0, float("nan"), 0.01):
        with pytest.raises(ValueError, match=f"for a part of {fraction:.4g} and .* got 20 frames"):
            recording.split(fraction)


def test_an_image_lost_after_loading_stops_the_writing(tmp_path, quiet_udacity, store_of):
    recording = quiet_udacity(tmp_path / "log", [0, 50, 100])
    recording.episodes[0].image_paths[1].unlink()
    with pytest.raises(ValueError, match="`image` must stay readable while a recording is written"):
        store_of(recording, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{center},l.jpg,r.jpg,nan,1,0,30", "steering is no number: 1 (first: 'nan' in line 2)"),
        ("{center},l.jpg,r.jpg,left,1,0,30", "steering is no number: 1 (first: 'left' in line 2)"),
        ("{center},l.jpg,r.jpg,,1,0,30", "steering is no number: 1 (first: '' in line 2)"),
        ("{center},l.jpg,r.jpg,1_0,1,0,30", "steering is no number: 1 (first: '1_0' in line 2)"),
        ("{center},l.jpg,r.jpg,1.2,1,0,30", "steering outside [-1, 1]: 1 (first: 1.2 in line 2)"),
        ("{center},l.jpg,r.jpg,0,1,0,30,x", "more than 7 columns: 1 (first: line 2)"),
        ("{center},l.jpg,r.jpg,0,1,0,,x", "more than 7 columns: 1 (first: line 2)"),
        ("{center},0.1,1,0,30", "fewer than 7 columns: 1 (first: line 2)"),
        ('{center},"l.jpg,r.jpg,0,1,0,30', "fewer than 7 columns: 1 (first: line 2)"),
        (
            '"{center},l.jpg,r.jpg,0,1,0,30' + "x" * 200_000,
            "fewer than 7 columns: 1 (first: line 2)",
        ),
        ("\0" * 5000, "fewer than 7 columns: 1 (first: line 2)"),
        ("{center},l,r,0,5,0,0,30,1", "more than 7 columns: 1 (first: line 2)"),
        ("center_7.jpg,l.jpg,r.jpg,0,1,0,30", "center image without a time stamp: 1"),
        (
            "center_2018_13_16_17_11_43_382.jpg,l,r,0,1,0,30",
            "center image without a time stamp: 1"
            " (first: 'center_2018_13_16_17_11_43_382.jpg' in line 2)",
        ),
        ("left_{time},l.jpg,r.jpg,0,1,0,30", "column center names a left image: 1 (first: line 2)"),
    ],
)
def test_a_damaged_line_is_skipped_and_told(tmp_path, line, reason, stamp, make_udacity):
    times_ms = [0, 50, 100, 150]
    folder = make_udacity(
        tmp_path / "log", times_ms, [0.25] * 4, cameras=("center", "left", "right")
    )
    log = folder / "driving_log.csv"
    first, _, *rest = log.read_text().splitlines()
    line = line.format(center=f"center_{stamp(50)}", time=stamp(50))
    log.write_text("\n".join([first, line, *rest]))
    with pytest.warns(UserWarning) as caught:
        recording = load_udacity(folder)
    assert len(caught) == 1
    assert f"Skipped 1 of the 10 images listed in '{folder}': {reason}" in str(caught[0].message)
    assert [e.rows.tolist() for e in recording.episodes] == [[0, 2, 3]] * 3
    np.testing.assert_array_equal(
        recording.center_only().episodes[0].numbers["steering"], [-0.25] * 3
    )
    np.testing.assert_allclose(recording.episodes[0].dt_s(0.05), [0.05, 0.1, 0.05], atol=1e-6)


def test_small_overshoots_are_clipped_and_counted_by_line(tmp_path, quiet_udacity):
    with pytest.warns(UserWarning, match=r"^Used all of the 9 .* clipped to \[-1, 1\]: 2 .*line 1"):
        recording = quiet_udacity(tmp_path / "log", [0, 50, 100], [1.003, -1.1, 1.0])
    assert recording.changed == {"steering clipped to [-1, 1]": 2}
    steering = {episode.camera: episode.numbers["steering"] for episode in recording.episodes}
    np.testing.assert_allclose(steering["center"], [-1, 1, -1])
    np.testing.assert_allclose(steering["right"], [-0.8, 1, -0.8], atol=1e-6)


def test_the_time_is_that_of_the_file_name_to_the_millisecond(tmp_path, make_udacity):
    folder = make_udacity(tmp_path / "log", [0, 1], [0, 0])
    names = ["center_1970_01_02_03_04_05_678.jpg", "center_1970_03_01_00_00_00_000.jpg"]
    lines = []
    for name, old in zip(names, sorted((folder / "IMG").iterdir()), strict=True):
        old.rename(folder / "IMG" / name)
        lines.append(f"{name},,,0,0,0,0")
    (folder / "driving_log.csv").write_text("\n".join(lines))
    (episode,) = load_udacity(folder, max_gap_s=1e9).episodes
    seconds = [86_400 + 3 * 3600 + 4 * 60 + 5.678, (31 + 28) * 86_400]
    np.testing.assert_allclose(episode.time_s, seconds, rtol=0, atol=1e-9)


def test_unusable_udacity_logs(tmp_path, make_udacity):
    with pytest.raises(FileNotFoundError, match="`folder` must be the folder of a recording, got"):
        load_udacity(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold a driving_log.csv"):
        load_udacity(tmp_path)
    for text in ("", "\n\n", HEADER):
        (tmp_path / "driving_log.csv").write_text(text)
        with pytest.raises(ValueError, match="must list at least one frame, got none"):
            load_udacity(tmp_path)
    folder = make_udacity(tmp_path / "no_images", [0, 50], [0, 0], cameras=("left", "right"))
    with pytest.raises(
        ValueError, match=r"one usable image of the center .* none among the 6 .*IMG'\.$"
    ):
        load_udacity(folder)
    folder = make_udacity(tmp_path / "single", [0, 5000], [0, 0], cameras=("center",))
    with pytest.raises(
        ValueError,
        match=r"two frames must follow .* within 1 s, .* 2 of 6 images .* there are 5 s: check",
    ):
        load_udacity(folder)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"side_steering_offset": 1.1}, r"`side_steering_offset` must be in \[0, 1\], got 1.1"),
        ({"side_steering_offset": -0.1}, r"`side_steering_offset` must be in \[0, 1\], got -0.1"),
        ({"image_size": (0, 200)}, r"`image_size` must be .* got \(0, 200\)"),
        ({"crop": (0.5, 0.5)}, r"`crop` must be .* got \(0.5, 0.5\)"),
        ({"crop": (-0.1, 0.5)}, r"`crop` must be .* got \(-0.1, 0.5\)"),
        ({"max_gap_s": 0.0}, "`max_gap_s` must be positive, got 0.0"),
        ({"max_gap_s": "2"}, "`max_gap_s` must be positive, got '2'"),
        (
            {"max_missing_frames": -1},
            "`max_missing_frames` must be a whole number .* got -1",
        ),
    ],
)
def test_bad_settings(tmp_path, setting, match, quiet_udacity):
    with pytest.raises(ValueError, match=match):
        quiet_udacity(tmp_path / "log", [0, 50], **setting)
