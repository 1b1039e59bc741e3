"""What `look_over` measures, on recordings whose content is known."""

import pytest

from envs.recorded import load_recording
from envs.recorded.overview import NUM_BINS, look_over, sampled_frames
from envs.recorded.stretches import drive_times_s


def table(folder, rows, header="time_s,steering,speed [m/s],episode"):
    folder.mkdir()
    (folder / "frames.csv").write_text("\n".join([header, *rows]) + "\n")
    return load_recording(folder)


@pytest.fixture
def recording(tmp_path):
    """Two episodes of 40 frames, each from time zero on; one step of 0.5 s in the first."""
    rows = []
    for episode in "ab":
        for i in range(40):
            time_s = 0.1 * i + (0.4 if episode == "a" and i >= 20 else 0.0)
            steering = 0.0 if i % 4 == 0 else 0.5 * (-1) ** i
            speed = "" if i < 10 else str(i)
            rows.append(f"{time_s:.3f},{steering},{speed},{episode}")
    return table(tmp_path / "mine", rows)


def test_times_go_on_where_each_episode_begins_at_zero(recording):
    first, second = drive_times_s(recording.episodes, recording.frame_s)
    assert first[[0, 19, 20, -1]] == pytest.approx([0.0, 1.9, 2.4, 4.3])
    assert second[[0, -1]] == pytest.approx([4.4, 8.3])


def test_time_steps_and_pauses(recording):
    overview = look_over(recording)
    assert overview.num_episodes == 2 and overview.duration_s == pytest.approx(8.3)
    steps = overview.steps
    assert len(steps.steps_s) == 78
    assert (steps.median_s, steps.longest_s) == pytest.approx((0.1, 0.5))
    assert 0.1 < steps.p99_s < 0.5
    assert steps.pauses_s == pytest.approx([-4.3])


def test_numbers_count_what_is_missing_and_what_is_zero(recording):
    steering, speed = look_over(recording).numbers
    assert (steering.role, speed.role) == ("action", "input")
    assert steering.zeros == 0.25 and steering.num_missing == 0
    assert speed.num_missing == 20 and speed.zeros == 0.0
    assert speed.summary["lowest"] == 10.0 and speed.summary["median"] == 24.5
    counts = steering.histogram()
    assert len(counts) == NUM_BINS and counts.sum() == 80
    assert counts[NUM_BINS // 2] == 20, "the zeros are in the bin that begins in the middle"


def test_a_last_fifth_that_never_steers_is_told(tmp_path):
    steering = [0.5 * (-1) ** i if i < 80 else 0.0 for i in range(100)]
    rows = [f"{0.1 * i:.1f},{value},1,a" for i, value in enumerate(steering)]
    (doubt,) = look_over(table(tmp_path / "straight", rows)).doubts
    assert doubt.startswith("The last fifth never steers")
    rows = [f"{0.1 * i:.1f},{0.5 * (-1) ** i},1,a" for i in range(100)]
    assert not look_over(table(tmp_path / "alike", rows)).doubts


def test_samples_reach_from_the_first_frame_to_the_last(recording):
    found = sampled_frames(recording, "center", 5)
    assert found[0] == (0, 0) and found[-1] == (1, 39) and len(found) == 5
    assert len(sampled_frames(recording, "center", 1000)) == 80


def test_sizes_and_cameras_are_counted(tmp_path, make_tub, quiet_udacity):
    tub = load_recording(make_tub(tmp_path / "tub", [{}] * 8, size=(60, 80)))
    assert look_over(tub).sizes == {(60, 80): 8}
    log = quiet_udacity(tmp_path / "log", range(0, 600, 100))
    assert look_over(log).cameras == {"center": 6, "left": 6, "right": 6}
