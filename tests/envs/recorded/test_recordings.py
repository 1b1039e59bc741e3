import cv2
import numpy as np
import pytest

from envs.recorded import load_recording
from envs.recorded.images import Framing
from ncp_control.learning.demonstrations import Windows


@pytest.mark.parametrize(
    ("setting", "told"),
    [({"crop": 0.3}, "`crop` must be the shares"), ({"image_size": 100}, "`image_size` must be"),
     ({"crop": ("a", "b")}, "`crop` must be the shares")],
)  # fmt: skip
def test_sizes_and_crops_of_another_kind_are_refused(setting, told):
    with pytest.raises(ValueError, match=told):
        Framing(**{"image_size": (78, 200), "crop": (0.0, 0.0), **setting})


def test_the_format_is_recognised(tmp_path, make_udacity, make_tub):
    make_udacity(tmp_path / "log", [0, 50], [0, 0], cameras=("center", "left", "right"))
    make_tub(tmp_path / "tub", [{}] * 2)
    for name in ("log", "log/driving_log.csv"):
        recording = load_recording(tmp_path / name, crop=(0.1, 0.0))
        assert (recording.format, recording.framing.crop) == ("udacity", (0.1, 0.0))
    for name in ("tub", "tub/manifest.json"):
        assert load_recording(tmp_path / name).format == "donkeycar"
    (tmp_path / "other").mkdir()
    with pytest.raises(
        ValueError, match=r"must hold a driving_log.csv .* got .*other' with none of them. Give the"
    ):
        load_recording(tmp_path / "other")
    with pytest.raises(
        ValueError, match=r"with none of them. Give a folder that does, e.g. '.*log"
    ):
        load_recording(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"got '.*nowhere', which does not exist"):
        load_recording(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("drive.zip", "Unpack it, and give the folder that holds a driving_log.csv"),
        ("drive.tar.gz", "Unpack it, and give the folder"),
        ("notes.csv", "Give the folder that holds a driving_log.csv .*manifest.json .*LeRobot"),
    ],
)
def test_a_file_is_called_a_file(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(
        NotADirectoryError, match=rf"the folder of a recording, got the file '.*{name}'. {advice}"
    ):
        load_recording(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        load_recording(tmp_path / name / "driving_log.csv")


@pytest.fixture(scope="module")
def udacity(recordings):
    with pytest.warns(UserWarning, match="Skipped 7706 of the 12159 images"):
        return load_recording(recordings / "udacity_log")


@pytest.mark.filterwarnings("ignore:Skipped:UserWarning")
@pytest.mark.parametrize(
    ("name", "num_frames", "skipped"),
    [
        ("udacity_other", 613, {"left image missing": 613, "right image missing": 613}),
        ("more_tubs/missing_images", 815, {"center image missing": 1205}),
        ("more_tubs/tub_19_simulator", 1808, {}),
    ],
)
def test_every_whole_image_of_a_real_recording_is_used(recordings, name, num_frames, skipped):
    if not (recordings / name).is_dir():
        pytest.skip(f"no {name} in {recordings}")
    recording = load_recording(recordings / name)
    assert (len(recording), recording.skipped) == (num_frames, skipped)


def test_the_real_udacity_log(udacity, lengths):
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
    turning = np.flatnonzero(np.abs(center.numbers["steering"][:-1]) > 0.3)[::4]
    window = cv2.createHanningWindow((320, 50), cv2.CV_32F)
    shifts = []
    for i in turning:
        pair = [
            np.float32(cv2.imread(str(center.image_paths[k]), cv2.IMREAD_GRAYSCALE)[20:70])
            for k in (i, i + 1)
        ]
        shifts.append(cv2.phaseCorrelate(*pair, window)[0][0])
    signs = np.sign(center.numbers["steering"][turning])
    assert np.median(signs * np.array(shifts)) > 2.0


def test_the_real_tub(recordings, tmp_path, store_of, lengths):
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
    counted = sum(int(batch.mask.sum()) for batch in Windows(store, 16, 8, seed=0))
    assert counted == len(store)
