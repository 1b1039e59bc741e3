"""Segments of comma2k19: numbers at the times of frames, with the video or alone."""

from dataclasses import replace

import numpy as np
import pytest

from envs.recorded import load_recording
from envs.recorded.fractions import as_fractions
from envs.recorded.images import read_image

START_S = 46408.0


def save(folder, values):
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.open("wb") as file:
        np.save(file, values)


def write_segment(folder, num_frames=40):
    """Write a segment whose angle is the time in s times 10, and whose speed is 3 times that."""
    frame_times = START_S + np.arange(num_frames) / 20
    t = START_S - 0.005 + np.arange(int(num_frames * 4.6)) / 90
    save(folder / "global_pose" / "frame_times", frame_times)
    can = folder / "processed_log" / "CAN"
    save(can / "steering_angle" / "t", t)
    save(can / "steering_angle" / "value", 10 * (t - START_S))
    save(can / "speed" / "t", t)
    save(can / "speed" / "value", 30 * (t - START_S)[:, None])
    save(can / "wheel_speed" / "t", t)
    save(can / "wheel_speed" / "value", np.outer(t - START_S, [1, 2, 3, 4]))
    save(can / "radar" / "t", t)
    save(can / "radar" / "value", np.zeros((len(t), 7)))
    return folder


def test_numbers_are_those_of_the_moment_of_each_frame(tmp_path):
    with pytest.warns(UserWarning, match="video.hevc of .* is missing: numbers are read alone"):
        recording = load_recording(write_segment(tmp_path / "segment")).choose()
    (episode,) = recording.episodes
    assert recording.actions == ("steering_angle",)
    assert recording.inputs == ("speed", "wheel_speed.front_left", "wheel_speed.front_right",
                                "wheel_speed.rear_left", "wheel_speed.rear_right")  # fmt: skip
    np.testing.assert_allclose(episode.numbers["steering_angle"], np.arange(40) / 2, atol=1e-4)
    np.testing.assert_allclose(episode.numbers["speed"], np.arange(40) * 1.5, atol=1e-4)
    assert (recording.action[0].unit, recording.action[0].positive) == ("deg", "left")


@pytest.mark.filterwarnings("ignore:video.hevc of:UserWarning")
def test_the_angle_of_the_steering_wheel_is_not_that_of_the_wheels(tmp_path):
    recording = load_recording(write_segment(tmp_path / "segment"))
    words = (
        r"unless .* is an angle, got only steering_angle \[deg\] in .*of the steering wheel: leave"
    )
    with pytest.raises(ValueError, match=words):
        as_fractions(recording, 30.0)
    with pytest.raises(ValueError, match=r"Give --log-options max_steer_rad=RADIANS instead"):
        as_fractions(replace(recording, format="ros2"), 30.0)


def test_nothing_is_made_up_within_a_gap_or_beyond_the_ends(tmp_path):
    folder = write_segment(tmp_path / "segment")
    place = folder / "processed_log" / "CAN" / "speed"
    t, speed = np.load(place / "t"), np.load(place / "value")
    is_kept = (t < START_S + 0.5) | ((t > START_S + 1.0) & (t < START_S + 1.7))
    save(place / "t", t[is_kept])
    save(place / "value", speed[is_kept])
    with pytest.warns(UserWarning, match="numbers are read alone"):
        recording = load_recording(folder)
    is_known = np.isfinite(recording.episodes[0].numbers["speed"])
    assert set(np.flatnonzero(~is_known)) == {*range(10, 21), *range(34, 40)}


def test_a_damaged_series_costs_that_series(tmp_path):
    folder = write_segment(tmp_path / "segment")
    (folder / "processed_log" / "CAN" / "speed" / "value").write_bytes(b"\x93NUMPY nothing")
    with pytest.warns(UserWarning, match=r"damaged file: 1 \(first: CAN/speed/value\)|alone"):
        recording = load_recording(folder)
    assert "speed" not in {one.name for one in recording.quantities}
    assert len(recording) == 40


def test_no_series_at_all_is_refused(tmp_path):
    (tmp_path / "segment" / "processed_log").mkdir(parents=True)
    with pytest.raises(ValueError, match="must hold numbers of a car in processed_log/CAN, got no"):
        load_recording(tmp_path / "segment")


def test_frames_of_the_video_belong_to_their_times(tmp_path):
    pytest.importorskip("av", reason="pip install ncp-control[lerobot]")
    import av

    from tests.envs.recorded.lerobot_files import picture

    folder = write_segment(tmp_path / "segment")
    with av.open(str(folder / "video.hevc"), "w", format="hevc") as container:
        stream = container.add_stream("libx265", rate=20)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.options = {"x265-params": "log-level=none:bframes=2:keyint=10", "crf": "10"}
        for i in range(40):
            frame = av.VideoFrame.from_ndarray(picture(0, i), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    recording = load_recording(folder)
    (episode,) = recording.episodes
    for i in (39, 0, 1, 25, 12):
        seen = read_image(episode.image_paths[i]).astype(int)
        assert np.abs(seen - picture(0, i)).mean() < 4.0, i


def test_the_real_segment(recordings):
    folder = recordings / "formats" / "comma2k19_example"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    with pytest.warns(UserWarning, match="numbers are read alone"):
        recording = load_recording(folder)
    assert recording.frame_s == pytest.approx(0.05, abs=1e-3)
    whole = recording.choose()
    assert len(whole) > 1000 and len(whole) == 1200 - whole.num_skipped
    assert 5.0 < whole.episodes[0].numbers["speed"].mean() < 40.0
