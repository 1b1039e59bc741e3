"""Recorded human driving: synthetic logs with known content, and the real recordings."""

import json
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from envs.recorded import load_donkeycar, load_recording, load_udacity
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter, windows

START = datetime(2018, 7, 16, 23, 59, 59, 800_000)
HEADER = "center,left,right,steering,throttle,brake,speed\n"
RED = (255, 0, 0)


def write_image(path, size=(160, 320), color=RED):
    image = np.full((*size, 3), color[::-1], np.uint8)  # OpenCV writes BGR
    assert cv2.imwrite(str(path), image)


def stamp(milliseconds):
    time = START + timedelta(milliseconds=milliseconds)
    return f"{time:%Y_%m_%d_%H_%M_%S}_{time.microsecond // 1000:03d}.jpg"


def make_udacity(folder, times_ms, steering, *, cameras=("center",), header="", windows_paths=True):
    """Write a log of three cameras, and the images of those in `cameras`."""
    (folder / "IMG").mkdir(parents=True)
    prefix = "C:\\Users\\Someone\\drive\\IMG\\" if windows_paths else " IMG/"
    lines = [header]
    for time_ms, steer in zip(times_ms, steering, strict=True):
        names = [f"{camera}_{stamp(time_ms)}" for camera in ("center", "left", "right")]
        cells = [prefix + name for name in names]
        lines.append(",".join([*cells, str(steer), "1", "0", "30.19"]) + "\n")
        for name in names:
            if name.split("_")[0] in cameras:
                write_image(folder / "IMG" / name)
    (folder / "driving_log.csv").write_text("".join(lines))
    return folder


def quiet_udacity(folder, times_ms, steering=None, **settings):
    """Load a log whose side cameras are present, so that nothing is missing."""
    steering = [0.0] * len(times_ms) if steering is None else steering
    make_udacity(folder, times_ms, steering, cameras=("center", "left", "right"))
    return load_udacity(folder, **settings)


def make_tub(folder, records, *, deleted=(), size=(120, 160), images=True):
    """Write a tub of version 2; `records` holds the fields that differ from the defaults."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for i, changes in enumerate(records):
        record = {
            "_index": i,
            "_session_id": "22-02-10_0",
            "_timestamp_ms": 1_644_504_922_690 + 50 * i,
            "cam/image_array": f"{i}_cam_image_array_.jpg",
            "user/angle": 0.0,
            "user/mode": "user",
            "user/throttle": 0.5,
            **changes,
        }
        lines.append(json.dumps(record))
        if images:
            write_image(folder / "images" / f"{i}_cam_image_array_.jpg", size)
    half = len(lines) // 2
    (folder / "catalog_0.catalog").write_text("\n".join(lines[:half]) + "\n")
    (folder / "catalog_1.catalog").write_text("\n".join(lines[half:]) + "\n")
    manifest = [
        ["cam/image_array", "user/angle", "user/throttle", "user/mode"],
        ["image_array", "float", "float", "str"],
        {},
        {"created_at": 1644504876.7},
        {
            "paths": ["catalog_0.catalog", "catalog_1.catalog"],
            "current_index": len(lines),
            "deleted_indexes": list(deleted),
        },
    ]
    (folder / "manifest.json").write_text("\n".join(json.dumps(v) for v in manifest) + "\n")
    return folder


def store_of(recording, folder):
    with DemonstrationWriter(
        folder, recording.observation_shape, source=recording.source
    ) as writer:
        recording.write(writer)
    return Demonstrations.open(folder)


def lengths(recording, camera="center"):
    return [len(episode) for episode in recording.episodes if episode.camera == camera]


# --- Udacity ---------------------------------------------------------------------------------


def test_true_time_stamps_become_dt(tmp_path):
    # The third frame is past midnight; the second interval is twice the usual one.
    recording = quiet_udacity(tmp_path / "log", [0, 100, 300, 400], [0.0, 0.25, -0.5, 1.0])
    store = store_of(recording.center_only(), tmp_path / "store")
    np.testing.assert_allclose(store.dt_s, [0.1, 0.1, 0.2, 0.1], atol=1e-6)
    np.testing.assert_array_equal(store.actions[:, 0], [0.0, -0.25, 0.5, -1.0])  # left positive
    assert store.observations.shape == (4, 78, 200, 3)
    assert store.meta["source"]["format"] == "udacity"


def test_observations_are_rgb_and_cropped(tmp_path):
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


@pytest.mark.parametrize("header", ["", HEADER, HEADER.upper()])
@pytest.mark.parametrize("windows_paths", [True, False])
def test_header_and_paths_of_either_kind(tmp_path, header, windows_paths):
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


def test_a_byte_order_mark_and_foreign_letters_do_no_harm(tmp_path):
    folder = make_udacity(tmp_path / "log", [0, 50], [0, 0], cameras=("center", "left", "right"))
    log = folder / "driving_log.csv"
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes().replace(b"Someone", b"Andr\xe9"))
    assert lengths(load_udacity(folder)) == [2]


def test_side_cameras_steer_back_to_the_middle(tmp_path):
    recording = quiet_udacity(
        tmp_path / "log", [0, 50, 100], [0.0, 0.5, -0.95], side_steering_offset=0.1
    )
    steering = {episode.camera: episode.steering for episode in recording.episodes}
    np.testing.assert_allclose(steering["center"], [0.0, -0.5, 0.95])
    np.testing.assert_allclose(steering["left"], [-0.1, -0.6, 0.85])  # more to the right
    np.testing.assert_allclose(steering["right"], [0.1, -0.4, 1.0])  # more to the left, clipped


def test_missing_and_broken_images_are_skipped_with_one_warning(tmp_path):
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
        f"Skipped 4 of the 30 images listed in '{folder}' (1 missing, 3 unreadable):"
        " 3 of 10 center, 1 of 10 left, 0 of 10 right."
    )
    assert (recording.num_listed, recording.num_skipped) == (30, 4)
    # Three missing frames are bridged with their true time.
    assert lengths(recording) == [7]
    np.testing.assert_allclose(recording.episodes[0].dt_s(0.05)[2:4], [0.05, 0.2], atol=1e-6)
    with pytest.warns(UserWarning):
        recording = load_udacity(folder, max_missing_frames=2)
    assert lengths(recording) == [3, 4]
    with pytest.warns(UserWarning):
        recording = load_udacity(folder, max_missing_frames=0)
    assert lengths(recording, "left") == [2, 7]


def test_side_cameras_that_are_not_listed_are_not_missed(tmp_path):
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
        ([200, 250, 100, 150], [2, 2]),
        ([0, 50, 50, 100], [2, 2]),
    ],
)
def test_a_jump_in_time_begins_an_episode(tmp_path, times_ms, expected):
    recording = quiet_udacity(tmp_path / "log", times_ms)
    assert lengths(recording) == expected
    for episode in recording.episodes:
        assert (episode.dt_s(recording.frame_s) > 0).all()


def test_split_is_in_time_and_tests_on_the_center_camera(tmp_path):
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
        with pytest.raises(ValueError, match=f"`fraction` must leave .* got {fraction}"):
            recording.split(fraction)


def test_smoothing_spreads_a_tap_over_time_and_keeps_its_sum(tmp_path):
    steering = np.zeros(201)
    steering[100] = -0.5  # to the left in our sign
    recording = quiet_udacity(tmp_path / "log", range(0, 201 * 50, 50), steering).center_only()
    smooth = recording.smoothed(0.4).episodes[0].steering
    frames = np.arange(201) - 100
    assert smooth.sum() == pytest.approx(0.5, rel=1e-4)
    assert np.sqrt((smooth * frames**2).sum() / smooth.sum()) == pytest.approx(0.4 / 0.05, rel=0.02)
    assert recording.episodes[0].steering.max() == pytest.approx(0.5), "the original stays"
    np.testing.assert_array_equal(
        recording.smoothed(0.0).episodes[0].steering, recording.episodes[0].steering
    )
    with pytest.raises(ValueError, match="`width_s` must be finite and >= 0, got -1"):
        recording.smoothed(-1)


def test_an_image_lost_after_loading_stops_the_writing(tmp_path):
    recording = quiet_udacity(tmp_path / "log", [0, 50, 100])
    recording.episodes[0].image_paths[1].unlink()
    with pytest.raises(ValueError, match="`image` must stay readable while a recording is written"):
        store_of(recording, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{center},l.jpg,r.jpg,nan,1,0,30", r"`steering` must be .* got 'nan' in line 2 of"),
        ("{center},l.jpg,r.jpg,left,1,0,30", r"`steering` must be .* got 'left' in line 2 of"),
        ("{center},l.jpg,r.jpg,1.5,1,0,30", r"`steering` must be a number in \[-1, 1\], got '1.5'"),
        ("{center},l.jpg,r.jpg,,1,0,30", r"`steering` must be .* got '' in line 2 of"),
        ("{center},0.1,1,0,30", r"must have 7 columns \(center, .*got 5 in line 2 of"),
        (
            "center_7.jpg,l.jpg,r.jpg,0,1,0,30",
            r"`center` must end in a time stamp .*'center_7.jpg'",
        ),
        ("center_2018_13_16_17_11_43_382.jpg,l,r,0,1,0,30", "`center` must end in a time stamp"),
    ],
)
def test_damaged_lines_are_named(tmp_path, line, match):
    folder = make_udacity(tmp_path / "log", [0], [0.0])
    with (folder / "driving_log.csv").open("a") as log:
        log.write(line.format(center=f"center_{stamp(50)}") + "\n")
    with pytest.raises(ValueError, match=match):
        load_udacity(folder)


def test_unusable_udacity_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match="`folder` must be the folder of a recording, got"):
        load_udacity(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold a driving_log.csv"):
        load_udacity(tmp_path)
    for text in ("", "\n\n", HEADER):
        (tmp_path / "driving_log.csv").write_text(text)
        with pytest.raises(ValueError, match="must list at least one frame, got none"):
            load_udacity(tmp_path)
    folder = make_udacity(tmp_path / "no_images", [0, 50], [0, 0], cameras=("left", "right"))
    with pytest.raises(ValueError, match=r"at least one readable image .* none of the 2 listed"):
        load_udacity(folder)
    folder = make_udacity(tmp_path / "single", [0, 5000], [0, 0], cameras=("center",))
    with (
        pytest.warns(UserWarning, match="Skipped 4 of the 6"),
        pytest.raises(ValueError, match=r"`max_gap_s` must let two frames follow .* got 1.0"),
    ):
        load_udacity(folder)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"side_steering_offset": -0.1}, r"`side_steering_offset` must be in \[0, 1\], got -0.1"),
        ({"image_size": (0, 200)}, r"`image_size` must be .* got \(0, 200\)"),
        ({"crop": (0.5, 0.5)}, r"`crop` must be .* got \(0.5, 0.5\)"),
        ({"crop": (-0.1, 0.5)}, r"`crop` must be .* got \(-0.1, 0.5\)"),
        ({"max_gap_s": 0.0}, "`max_gap_s` must be positive, got 0.0"),
        ({"max_missing_frames": -1}, "`max_missing_frames` must not be negative, got -1"),
    ],
)
def test_bad_settings(tmp_path, setting, match):
    with pytest.raises(ValueError, match=match):
        quiet_udacity(tmp_path / "log", [0, 50], **setting)


# --- Donkeycar -------------------------------------------------------------------------------


def test_a_tub_becomes_demonstrations(tmp_path):
    angles = [0.0, 0.5, -1.0, 0.25]
    tub = make_tub(tmp_path / "tub", [{"user/angle": angle} for angle in angles])
    store = store_of(load_recording(tub), tmp_path / "store")
    np.testing.assert_array_equal(store.actions[:, 0], [0.0, -0.5, 1.0, -0.25])  # left positive
    np.testing.assert_allclose(store.dt_s, 0.05, atol=1e-6)
    np.testing.assert_allclose(store.observations.mean((0, 1, 2)), RED, atol=4)


def test_mixed_sizes_and_grey_images_become_one_shape(tmp_path):
    tub = make_tub(tmp_path / "tub", [{}] * 3)
    grey = np.full((76, 135), 200, np.uint8)
    cv2.imwrite(str(tub / "images" / "1_cam_image_array_.jpg"), grey)
    store = store_of(load_donkeycar(tub), tmp_path / "store")
    assert store.observations.shape == (3, 78, 200, 3)
    np.testing.assert_allclose(store.observations[1].mean((0, 1)), [200] * 3, atol=2)


def test_deleted_records_and_autopilots_are_left_out(tmp_path):
    records = [{} for _ in range(14)]
    records[12] = {"user/mode": "local"}
    recording = load_donkeycar(make_tub(tmp_path / "tub", records, deleted=[1, 4, 5, 6, 7]))
    # One deleted record is bridged, four in a row are not.
    assert [episode.rows.tolist() for episode in recording.episodes] == [
        [0, 2, 3],
        [8, 9, 10, 11, 13],
    ]


def test_a_session_begins_an_episode(tmp_path):
    records = [{"_session_id": "a"}] * 3 + [{"_session_id": "b"}] * 2
    assert lengths(load_donkeycar(make_tub(tmp_path / "tub", records))) == [3, 2]


def test_damaged_tubs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold a manifest.json"):
        load_donkeycar(tmp_path)
    tub = make_tub(tmp_path / "tub", [{}] * 4)
    good = (tub / "catalog_1.catalog").read_text()
    for line, match in (
        ('{"_index": 3, "_ses', r"must have one complete JSON record a line, got '{\"_index\": 3"),
        ("{}", "must have one complete JSON record a line, got '{}'"),
        ("7", "must have one complete JSON record a line, got '7'"),
        (good.splitlines()[0].replace("0.0", "NaN"), "`steering` must be .* got nan in line 3 of"),
        (good.splitlines()[0].replace("0.0", "null"), "`steering` must be .* got None in line 3"),
    ):
        (tub / "catalog_1.catalog").write_text(good + line + "\n")
        with pytest.raises(ValueError, match=match):
            load_donkeycar(tub)
    (tub / "catalog_1.catalog").unlink()
    with pytest.raises(FileNotFoundError, match=r"`catalog_1.catalog` must lie in the tub"):
        load_donkeycar(tub)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]\n[]\n{}\n{}\n{}\n",
        '["cam/image_array", "user/angle"]\n["image_array", "float"]\n{}\n{}\n{}\n',
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"`manifest.json` must be the manifest of a Donkeycar"):
        load_donkeycar(tmp_path)


def test_tubs_without_usable_records(tmp_path):
    tub = make_tub(tmp_path / "deleted", [{}] * 3, deleted=[0, 1, 2])
    with pytest.raises(ValueError, match="at least one record driven by the user, got none"):
        load_donkeycar(tub)
    tub = make_tub(tmp_path / "no_images", [{}] * 3, images=False)
    with pytest.raises(ValueError, match=r"at least one readable image .* none of the 3 listed"):
        load_donkeycar(tub)


# --- Either ----------------------------------------------------------------------------------


def test_the_format_is_recognised(tmp_path):
    make_udacity(tmp_path / "log", [0, 50], [0, 0], cameras=("center", "left", "right"))
    make_tub(tmp_path / "tub", [{}] * 2)
    for name in ("log", "log/driving_log.csv"):
        recording = load_recording(tmp_path / name, crop=(0.1, 0.0))
        assert (recording.format, recording.framing.crop) == ("udacity", (0.1, 0.0))
    for name in ("tub", "tub/manifest.json"):
        assert load_recording(tmp_path / name).format == "donkeycar"
    (tmp_path / "other").mkdir()
    with pytest.raises(
        ValueError, match=r"must hold a driving_log.csv .* got .*other' with neither"
    ):
        load_recording(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=r"got '.*nowhere', which does not exist"):
        load_recording(tmp_path / "nowhere")


# --- The real recordings ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def udacity(recordings):
    with pytest.warns(UserWarning, match="Skipped 7706 of the 12159 images"):
        return load_recording(recordings / "udacity_log")


def test_the_real_udacity_log(udacity):
    assert lengths(udacity) == [4053]
    for side in ("left", "right"):
        (episode,) = [e for e in udacity.episodes if e.camera == side]
        assert episode.rows.tolist() == list(range(1000, 1200))
    dt_s = udacity.episodes[0].dt_s(udacity.frame_s)
    assert 0.05 < dt_s.min() < dt_s.max() < 0.5
    assert udacity.frame_s == pytest.approx(0.071, abs=1e-4)
    train, test = udacity.split(0.8)
    assert (len(train), len(test)) == (3242 + 400, 811)
    assert train.episodes[0].time_s[-1] < test.episodes[0].time_s[0]


def test_positive_steering_is_a_left_turn_in_the_real_log(udacity):
    """Turning left moves the far scene to the right; it is measured, not taken on trust."""
    center = udacity.center_only().episodes[0]
    turning = np.flatnonzero(np.abs(center.steering[:-1]) > 0.3)[::4]
    window = cv2.createHanningWindow((320, 50), cv2.CV_32F)
    shifts = []
    for i in turning:
        pair = [
            np.float32(cv2.imread(str(center.image_paths[k]), cv2.IMREAD_GRAYSCALE)[20:70])
            for k in (i, i + 1)
        ]
        shifts.append(cv2.phaseCorrelate(*pair, window)[0][0])
    signs = np.sign(center.steering[turning])
    assert np.median(signs * np.array(shifts)) > 2.0


def test_the_real_tub(recordings, tmp_path):
    recording = load_recording(recordings / "donkey_tub")
    assert len(recording) == 1098
    assert recording.num_skipped == 0
    assert recording.frame_s == pytest.approx(0.05, abs=1e-3)
    assert sum(lengths(recording)) == 1098
    assert len(recording.episodes) == 9
    train, test = recording.split(0.8)
    store = store_of(train, tmp_path / "train")
    assert (len(store), len(test)) == (878, 220)
    assert store.dt_s.max() <= 1.0
    counted = sum(int(batch.mask.sum()) for batch in windows(store, 16, 8, seed=0))
    assert counted == len(store)
