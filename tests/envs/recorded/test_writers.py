"""Recordings written as other formats come back with the same frames, numbers and times."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pip install ncp-control[lerobot]")

from envs.recorded import LoggedFrame, load_recording, register_reader, write_lerobot, write_tub
from envs.recorded.images import read_image
from envs.recorded.parquet import ParquetTable


def same(one, other, *, rows=True):
    """Whether two recordings have equal frames and numbers, and equal times to 1 µs."""
    assert len(one.episodes) == len(other.episodes)
    for first, second in zip(one.episodes, other.episodes, strict=True):
        np.testing.assert_allclose(second.time_s, first.time_s, atol=1e-6, rtol=0)
        assert first.numbers.keys() == second.numbers.keys()
        for name, values in first.numbers.items():
            np.testing.assert_array_equal(second.numbers[name], values)
        for a, b in zip(first.image_paths, second.image_paths, strict=True):
            np.testing.assert_array_equal(read_image(b), read_image(a))
    for name in ("quantities", "actions", "frame_s"):
        assert set(np.atleast_1d(getattr(one, name))) == set(np.atleast_1d(getattr(other, name)))


@pytest.fixture
def tub(tmp_path, make_tub):
    """A tub of two sessions whose frames, times and numbers all differ."""
    import cv2

    times = np.cumsum(np.random.default_rng(0).integers(20, 90, 150)) + 1_644_504_922_690
    records = [
        {"_timestamp_ms": int(t), "user/angle": np.sin(i / 7) / 1.3, "user/throttle": i / 150,
         "_session_id": f"22-02-10_{i // 90}"}
        for i, t in enumerate(times)
    ]  # fmt: skip
    folder = make_tub(tmp_path / "tub", records)
    for i, path in enumerate(sorted((folder / "images").iterdir())):
        noise = np.random.default_rng(i).integers(0, 255, (24, 32, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (64, 48)))
    return load_recording(folder)


def test_tub_to_lerobot_to_tub_keeps_every_bit(tub, tmp_path):
    write_lerobot(tub, tmp_path / "lerobot")
    between = load_recording(tmp_path / "lerobot")
    assert between.format == "lerobot"
    same(tub, between)
    write_tub(between, tmp_path / "again")
    again = load_recording(tmp_path / "again")
    assert again.format == "donkeycar"
    same(tub, again)
    first, last = tub.episodes[0].image_paths[0], again.episodes[0].image_paths[0]
    assert first.read_bytes() == last.read_bytes(), "the JPEG itself"


def has_gaps_and_names(tub, write, folder):
    """Whether an episode with gaps, once written, is read as the parts of one declared episode."""
    first, second = tub.episodes
    kept = np.arange(len(first)) % 30 < 20  # the last ten of thirty frames are missing
    write(replace(tub, episodes=(*first.select(kept).cut(tub.cuts), second)), folder)
    again = load_recording(folder).episodes
    return [(len(one), one.declared) for one in again] == [
        *[(20, "22-02-10_0")] * 3,
        (60, "22-02-10_1"),
    ]


def test_a_declared_episode_with_gaps_stays_one(tub, tmp_path):
    assert has_gaps_and_names(tub, write_lerobot, tmp_path / "set")


def test_the_tables_of_a_data_set_agree(tub, tmp_path):
    write_lerobot(tub, tmp_path / "set", task="drive round")
    info = json.loads((tmp_path / "set" / "meta" / "info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (
        2,
        150,
        round(1 / tub.frame_s),
    )
    assert info["features"]["action"] == {"dtype": "float32", "shape": [1], "names": ["steering"]}
    assert info["features"]["observation.images.center"]["shape"] == [48, 64, 3]
    data = ParquetTable(tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet")
    assert set(data.schema.names) == set(info["features"])
    episodes = ParquetTable(
        tmp_path / "set" / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    )
    assert episodes.values("dataset_to_index") == [90, 150]
    assert episodes.values("tasks") == [["drive round"]] * 2
    assert data.values("frame_index") == [*range(90), *range(60)]
    stats = json.loads((tmp_path / "set" / "meta" / "stats.json").read_text())
    steering = np.concatenate([episode.numbers["steering"] for episode in tub.episodes])
    assert stats["action"]["mean"] == pytest.approx([steering.mean()], abs=1e-6)
    assert np.shape(stats["observation.images.center"]["std"]) == (3, 1, 1)


def test_pandas_reads_the_tasks_by_their_words(tub, tmp_path):
    pandas = pytest.importorskip("pandas")
    write_lerobot(tub, tmp_path / "set", task="drive round")
    tasks = pandas.read_parquet(tmp_path / "set" / "meta" / "tasks.parquet")
    assert tasks.loc["drive round", "task_index"] == 0


def test_chosen_actions_units_and_the_crop_come_back(udacity_like, tmp_path):
    recording = load_recording(udacity_like).choose(["steering", "throttle"])
    with pytest.warns(UserWarning, match="The cameras left, right of 'log' are not written"):
        write_lerobot(recording, tmp_path / "set")
    again = load_recording(tmp_path / "set")
    assert again.choose().action == recording.action
    assert again.framing == recording.framing
    same(recording.center_only(), again)


@pytest.fixture
def udacity_like(tmp_path, make_udacity):
    return make_udacity(tmp_path / "log", range(0, 500, 50), [0.1] * 10,
                        cameras=("center", "left", "right"))  # fmt: skip


def test_numbers_alone_are_written_too(tmp_path, own_names):
    def read(path):
        for i in range(130):
            numbers = {"joint": 100.0 * i, "load": 1.0} if i != 7 else {"joint": 3.0}
            yield LoggedFrame(row=i, time_s=1e9 + 0.1 * i, numbers=numbers)

    register_reader("arm", recognises=lambda path: path.name == "arm", read=read)
    recording = load_recording(tmp_path / "arm").choose(["joint"], ["load"])
    write_lerobot(recording, tmp_path / "set")
    same(recording, load_recording(tmp_path / "set"))


def test_a_lerobot_data_set_needs_an_action(tmp_path, own_names):
    def read(path):
        return [LoggedFrame(row=i, time_s=i / 9, numbers={"speed": i}) for i in range(4)]

    register_reader("senses", recognises=lambda path: path.name == "senses", read=read)
    words = "must be named for LeRobot, got none for .*has speed: choose with --actions"
    with pytest.raises(ValueError, match=words):
        write_lerobot(load_recording(tmp_path / "senses"), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_frames_of_several_sizes_are_kept_and_told(tub, tmp_path):
    import cv2

    path = tub.episodes[0].image_paths[5]
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    with pytest.warns(UserWarning, match="have several sizes, 48 x 64, 30 x 40"):
        write_lerobot(tub, tmp_path / "set")
    same(tub, load_recording(tmp_path / "set"))


def test_grey_pictures_become_colour_without_loss(tub, tmp_path):
    import cv2

    for path in tub.episodes[0].image_paths[:3]:
        noise = np.random.default_rng(1).integers(0, 255, (48, 64), np.uint8)
        cv2.imwrite(str(path.with_suffix(".jpg")), noise)
    write_tub(tub, tmp_path / "other")
    again = load_recording(tmp_path / "other")
    same(tub, again)
    assert again.episodes[0].image_paths[0].suffix == ".png"


@pytest.mark.parametrize("write", [write_lerobot, write_tub])
def test_what_is_there_is_not_replaced_and_half_a_folder_is_not_left(tub, tmp_path, write):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="`folder` must not exist yet, got '.*there'"):
        write(tub, tmp_path / "there")
    tub.episodes[1].image_paths[-1].write_bytes(b"no image")
    with pytest.raises(ValueError, match="`image` must stay readable while it is converted"):
        write(tub, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"there", "tub"}


def test_a_tub_needs_frames_and_a_fraction(tmp_path, own_names):
    def read(path):
        return [LoggedFrame(row=i, time_s=i / 9, numbers={"speed": i}) for i in range(4)]

    register_reader("speeds", recognises=lambda path: path.name == "speeds", read=read)
    with pytest.raises(ValueError, match="must have frames and steering in .* got speed without"):
        write_tub(load_recording(tmp_path / "speeds"), tmp_path / "tub")
