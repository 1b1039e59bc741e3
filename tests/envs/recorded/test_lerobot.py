"""LeRobotDatasets of both versions: each row's frame, numbers, names and time."""

import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pip install ncp-control[lerobot]")
pytest.importorskip("av", reason="pip install ncp-control[lerobot]")

from envs.recorded import load_recording, write_lerobot
from envs.recorded.images import read_image
from envs.recorded.parquet import ParquetTable
from envs.recorded.video import Video
from tests.envs.recorded.lerobot_files import (
    FPS,
    change_info,
    change_table,
    picture,
    write_tasks,
    write_v2,
    write_v3,
    write_video,
)

FRONT, TOP = "observation.images.front", "observation.images.top"


def check_whole(recording, lengths=(12, 9)):
    assert [len(episode) for episode in recording.episodes] == list(lengths)
    for number, episode in enumerate(recording.episodes):
        np.testing.assert_allclose(episode.time_s, np.arange(len(episode)) / FPS, atol=1e-6)
        elbow = 10 * np.arange(len(episode)) + number
        np.testing.assert_array_equal(episode.numbers["action.elbow"], elbow)
        np.testing.assert_array_equal(episode.numbers["observation.state.wrist"], elbow)
        for i, path in enumerate(episode.image_paths):
            seen = read_image(path).astype(int)
            assert np.abs(seen - picture(number, i)).mean() < 3.0, f"{path}"


@pytest.mark.parametrize("write", [write_v2, write_v3])
@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_rows_frames_and_times_belong_together(tmp_path, write, codec):
    recording = load_recording(write(tmp_path / "set", codec=codec))
    check_whole(recording)
    assert recording.actions == ("action.elbow", "action.wrist")
    assert recording.choose().inputs == ()
    with recording.choose(inputs=["observation"]).as_demonstrations() as store:
        assert (len(store), store.action_size) == (21, 2)


def test_frames_can_be_asked_for_in_any_order(tmp_path):
    write_video(tmp_path / "film.mp4", [picture(0, i) for i in range(30)])
    video = Video(tmp_path / "film.mp4")
    assert len(video) == 30
    for i in (29, 3, 4, 17, 0, 16, 29):
        assert np.abs(video.read(i).astype(int) - picture(0, i)).mean() < 3.0, i


def test_one_of_several_cameras_is_chosen(tmp_path):
    folder = write_v3(tmp_path / "set", cameras=(FRONT, TOP))
    with pytest.warns(
        UserWarning, match=f"has the cameras {FRONT}, {TOP}: {FRONT} is read. Choose"
    ):
        first = load_recording(folder)
    top = load_recording(folder, options={"camera": "top"})
    assert "top" in str(top.episodes[0].image_paths[0].path)
    assert "front" in str(first.episodes[0].image_paths[0].path)
    check_whole(top)
    with pytest.raises(
        ValueError, match=f"`camera` must be one of {FRONT}, {TOP} in .* got 'left'"
    ):
        load_recording(folder, options={"camera": "left"})


@pytest.mark.parametrize("write", [write_v2, write_v3])
def test_without_videos_numbers_are_read_alone(tmp_path, write):
    folder = write(tmp_path / "set")
    shutil.rmtree(folder / "videos")
    with pytest.warns(UserWarning, match=f"The frames of {FRONT} are not in .*alone. Fetch its"):
        recording = load_recording(folder)
    assert recording.framing is None and len(recording) == 21
    assert recording.inputs == ("observation.state.elbow", "observation.state.wrist")


def test_a_damaged_video_costs_its_episode(tmp_path):
    folder = write_v2(tmp_path / "set")
    (folder / "videos" / "chunk-000" / FRONT / "episode_000000.mp4").write_bytes(b"no video" * 99)
    with pytest.warns(
        UserWarning, match=r"center image missing: 12 .*|damaged video: 1 \(first: 'ep"
    ):
        recording = load_recording(folder)
    assert [len(episode) for episode in recording.episodes] == [9]
    assert recording.skipped == {"damaged video": 1, "center image missing": 12}


@pytest.mark.parametrize("write", [write_v2, write_v3])
@pytest.mark.parametrize("video_fps", [5, 8, 20])
def test_where_times_do_not_fit_row_i_has_frame_i(tmp_path, write, video_fps):
    folder = write(tmp_path / "set", video_fps=video_fps)
    words = (
        r"\(episodes: 2; first: episode 0, with 12 rows 0.1 s apart and 12 frames .* so row i has"
    )
    with pytest.warns(UserWarning, match=words):
        recording = load_recording(folder)
    check_whole(recording)
    assert not recording.skipped


def test_frames_that_fit_neither_by_times_nor_by_number_are_left_out(tmp_path):
    folder = write_v2(tmp_path / "set")
    path = folder / "videos" / "chunk-000" / FRONT / "episode_000000.mp4"
    write_video(path, [picture(0, i) for i in range(13)], fps=20)
    words = r"number: 1 \(first: episode 0, with 12 rows 0.1 s apart and 13 frames 0.05 s apart\)"
    with pytest.warns(UserWarning, match=words):
        recording = load_recording(folder)
    assert [len(episode) for episode in recording.episodes] == [9]
    assert recording.skipped["center image missing"] == 12


@pytest.mark.parametrize("fps, times", [(FPS, 1), (2 * FPS, 2)])
def test_times_that_fit_find_frames_of_a_video_of_any_length(tmp_path, fps, times):
    folder = write_v2(tmp_path / "set", lengths=(12,))
    path = folder / "videos" / "chunk-000" / FRONT / "episode_000000.mp4"
    write_video(path, [picture(0, i // times) for i in range(14 * times)], fps=fps)
    check_whole(load_recording(folder), lengths=(12,))
    write_video(path, [picture(0, i) for i in range(8)])
    with pytest.warns(UserWarning, match="center image missing: 4 .first: row 8 of"):
        check_whole(load_recording(folder), lengths=(8,))


@pytest.mark.parametrize("write, table", [(write_v2, "episode_000000"), (write_v3, "file-000")])
def test_rows_with_the_stamp_of_the_row_before_are_left_out(tmp_path, write, table):
    folder = write(tmp_path / "set")
    change_table(
        folder / "data" / "chunk-000" / f"{table}.parquet",
        lambda columns: {"timestamp": [t if i != 5 else 0.4
                                       for i, t in enumerate(columns["timestamp"])]},
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"Skipped 1 .* stamp of the row before: 1 .first: row 5"):
        recording = load_recording(folder)
    assert [len(episode) for episode in recording.episodes] == [11, 9]
    kept = [*range(5), *range(6, 21)]
    np.testing.assert_array_equal(np.concatenate([one.rows for one in recording.episodes]), kept)
    for row, path in zip(kept[:11], recording.episodes[0].image_paths, strict=False):
        assert np.abs(read_image(path).astype(int) - picture(0, row)).mean() < 3.0, f"{path}"


def test_where_stamps_are_useless_times_are_counted(tmp_path):
    folder = write_v3(tmp_path / "set")
    change_table(
        folder / "data" / "chunk-000" / "file-000.parquet",
        lambda columns: {"timestamp": [t // 1 for t in columns["timestamp"]]},
    )
    with pytest.warns(UserWarning, match=r"changed: time from frame_index and fps.*: 21 .first"):
        check_whole(load_recording(folder))
    (folder / "meta" / "info.json").write_text("{}")
    with pytest.raises(ValueError, match=r"got only single frames .*stamp of the row before: 18"):
        load_recording(folder)


def test_damage_within_a_video_costs_frames_and_no_more(tmp_path):
    folder = write_v3(tmp_path / "set", lengths=(40, 40))
    path = folder / "videos" / FRONT / "chunk-000" / "file-000.mp4"
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.warns(UserWarning):
        recording = load_recording(folder)
    with recording.choose().as_demonstrations() as store:
        assert 0 < len(store) <= 80


def test_damaged_meta_leaves_numbered_names(tmp_path):
    folder = write_v3(tmp_path / "set")
    (folder / "meta" / "info.json").write_text("")
    with pytest.warns(UserWarning, match="'meta/info.json' of .* cannot be read"):
        recording = load_recording(folder)
    assert recording.actions == ("action.0", "action.1")
    assert recording.framing is not None


def test_names_that_do_not_fit_are_told_once(tmp_path):
    folder = write_v2(tmp_path / "set")
    change_info(folder, lambda info: info["features"]["action"].update(names=["a", "b", "c"]))
    with pytest.warns(UserWarning, match="names") as caught:
        recording = load_recording(folder)
    assert recording.actions == ("action.0", "action.1")
    (only,) = caught
    assert "are numbered: action (3 names for 2 numbers)." in str(only.message)


@pytest.mark.parametrize("write", [write_v2, write_v3])
def test_a_converted_data_set_has_names_tasks_and_robot_of_the_first(tmp_path, write):
    folder = write(tmp_path / "set", lengths=(5, 4, 3), cameras=(FRONT, TOP))
    write_tasks(folder, ["pick the cube", "wave"])
    change_info(folder, lambda info: info.update(robot_type="so101"))
    recording = load_recording(folder, options={"camera": "top"})
    with pytest.warns(UserWarning, match=f"Not written of 'set': next.reward, {FRONT}.$"):
        write_lerobot(recording, tmp_path / "again")
    info = json.loads((tmp_path / "again" / "meta" / "info.json").read_text())
    assert (info["robot_type"], info["total_tasks"]) == ("so101", 2)
    for key in ("action", "observation.state"):
        assert info["features"][key]["names"] == ["elbow", "wrist"]
    again = load_recording(tmp_path / "again")
    assert [one.task for one in again.episodes] == ["pick the cube", "wave", "pick the cube"]
    assert again.quantities == recording.quantities
    meta = tmp_path / "again" / "meta"
    tasks = ParquetTable(meta / "tasks.parquet")
    assert tasks.values("__index_level_0__") == ["pick the cube", "wave"]
    episodes = ParquetTable(meta / "episodes" / "chunk-000" / "file-000.parquet")
    assert episodes.values("tasks") == [["pick the cube"], ["wave"], ["pick the cube"]]
    rows = ParquetTable(tmp_path / "again" / "data" / "chunk-000" / "file-000.parquet")
    assert rows.values("task_index") == [0] * 5 + [1] * 4 + [0] * 3
    for name in ("stack", "drive"):
        write_lerobot(replace(again, robot=""), tmp_path / name, task=name)
        other = load_recording(tmp_path / name)
        assert {one.task for one in other.episodes} == {name} and other.robot == ""


def test_an_episode_is_cut_where_its_task_changes(tmp_path):
    folder = write_v3(tmp_path / "set", lengths=(5, 4, 12))
    write_tasks(folder, ["pick the cube", "wave"])
    tables = folder.glob("data/*/*.parquet")
    change_table(next(tables), lambda columns: {"task_index": [0] * 2 + [1] * 19})
    episodes = load_recording(folder).episodes
    assert [len(one) for one in episodes] == [2, 3, 4, 12]
    assert [one.task for one in episodes] == ["pick the cube", "wave", "wave", "wave"]
    assert [one.declared for one in episodes] == ["0", "0", "1", "2"]


@pytest.mark.parametrize("write, name", [(write_v2, "tasks.jsonl"), (write_v3, "tasks.parquet")])
def test_damaged_tasks_are_left_out(tmp_path, write, name):
    folder = write(tmp_path / "set")
    write_tasks(folder, ["pick the cube"])
    (folder / "meta" / name).write_text("[]")
    with pytest.warns(UserWarning, match="damaged tasks: 1"):
        recording = load_recording(folder)
    assert len(recording) == 21 and {one.task for one in recording.episodes} == {""}


def test_a_damaged_table_is_refused_in_one_sentence(tmp_path):
    folder = write_v3(tmp_path / "set")
    (folder / "data" / "chunk-000" / "file-000.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match=r"got none among the 1 listed in .*damaged table: 1"):
        load_recording(folder)


@pytest.mark.parametrize("package", ["pyarrow", "av"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    folder = write_v2(tmp_path / "set")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r'Run `pip install "ncp-control\[lerobot\]"`'):
        load_recording(folder)


@pytest.fixture
def formats(recordings):
    if not (recordings / "formats").is_dir():
        pytest.skip(f"no formats in {recordings}")
    return recordings / "formats"


def test_the_real_arm(formats):
    with pytest.warns(UserWarning, match="numbers are read alone"):
        recording = load_recording(formats / "lerobot_v3_meta").choose()
    assert [len(episode) for episode in recording.episodes] == [373, 374, 372, 373]
    assert (len(recording.actions), len(recording.inputs)) == (6, 6)
    first = recording.episodes[0].numbers
    assert first["action.shoulder_lift.pos"][0] == pytest.approx(-98.28291)
    assert first["observation.state.gripper.pos"][0] == pytest.approx(4.0431266)


def test_the_real_damaged_data_set(formats):
    with pytest.warns(
        UserWarning, match="'meta/info.json' of|first of several action of a row: 93"
    ):
        recording = load_recording(formats / "lerobot_v2_damaged")
    assert (len(recording), len(recording.actions), recording.frame_s) == (
        93,
        7,
        pytest.approx(0.1),
    )
    assert recording.episodes[0].numbers["action.6"][0] == pytest.approx(0.07168, abs=1e-5)
    assert read_image(recording.episodes[0].image_paths[92]).std() > 1.0


def test_many_episodes_leave_no_file_open(tmp_path):
    folder = write_v2(tmp_path / "set", lengths=(3,) * 30)
    recording = load_recording(folder)
    is_ours = [os.path.realpath(f"/proc/self/fd/{n}").startswith(str(tmp_path))
               for n in os.listdir("/proc/self/fd")]  # fmt: skip
    assert len(recording.episodes) == 30 and sum(is_ours) <= 1
