"""Stores whose frames are image files: they take a fraction of the room and read like arrays."""

import json
import threading
from collections.abc import Generator
from typing import cast

import cv2
import numpy as np
import pytest

from ncp_control.learning.demonstrations import (
    Demonstrations,
    DemonstrationWriter,
    Windows,
    encoded,
    stacked,
)
from ncp_control.learning.read_ahead import read_ahead
from ncp_control.records import join
from scripts.training import kept_frames

SHAPE = (48, 80, 3)


def make_frames(count, channels=3, seed=0):
    """Return smooth pictures that differ, as a camera's do."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 4, 6, channels), dtype=np.uint8)
    shape = (count, *SHAPE[:2], channels)
    return np.array([cv2.resize(one, SHAPE[1::-1]) for one in coarse]).reshape(shape)


def write(folder, frames, frames_as, frame_shape=None, lengths=(5, 7)):
    settings = {"frames_as": frames_as, "frame_shape": frame_shape, "overwrite": True}
    with DemonstrationWriter(folder, frames.shape[1:], **settings) as writer:
        first = 0
        for length in lengths:
            numbers = np.arange(first, first + length, dtype=np.float32)[:, None]
            writer.append_episode(frames[first : first + length], numbers, np.full(length, 0.05))
            first += length
    return Demonstrations.open(folder)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_every_pixel(tmp_path, channels):
    frames = make_frames(12, channels)
    store = write(tmp_path / "s", frames, "png")
    seen = store.observations
    assert (seen.shape, seen.ndim, seen.dtype, len(seen)) == (frames.shape, 4, np.uint8, 12)
    for key in (3, -1, slice(2, 9), slice(None, None, 3), np.array([[7, 0], [3, 3]]), slice(4, 4)):
        np.testing.assert_array_equal(seen[key], frames[key])
    np.testing.assert_array_equal(np.array(seen), frames)
    np.testing.assert_array_equal([one for one in seen], frames)
    with pytest.raises(IndexError):
        seen[12]


def test_windows_are_those_of_raw_frames(tmp_path):
    frames = make_frames(12)
    raw, png = (write(tmp_path / kind, frames, kind) for kind in ("raw", "png"))
    for one, other in zip(Windows(raw, 4, 2, 3), Windows(png, 4, 2, 3), strict=True):
        for name in ("observations", "actions", "dt_s", "mask"):
            assert (getattr(one, name) == getattr(other, name)).all()
    assert size_of(tmp_path / "png") < 0.7 * size_of(tmp_path / "raw")


def test_jpeg_changes_pixels_little_and_takes_less_room(tmp_path):
    frames = make_frames(12)
    store = write(tmp_path / "jpeg", frames, "jpeg")
    error = np.abs(np.array(store.observations).astype(int) - frames)
    assert 0 < error.mean() < 1.5
    assert error.max() < 16
    write(tmp_path / "png", frames, "png")
    assert size_of(tmp_path / "jpeg") < 0.6 * size_of(tmp_path / "png")


def test_red_is_red_for_whoever_opens_the_image(tmp_path):
    frames = np.zeros((12, *SHAPE), np.uint8)
    frames[..., 0] = 200
    write(tmp_path / "s", frames, "png")
    data = np.fromfile(tmp_path / "s/frames.bin", np.uint8)
    picture = cv2.imdecode(data[: np.load(tmp_path / "s/frame_ends.npy")[0]], cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture[0, 0].tolist() == [0, 0, 200]  # OpenCV's order is blue, green, red


def test_records_keep_their_numbers(tmp_path):
    frames, numbers = make_frames(12), np.random.default_rng(1).normal(size=(12, 2))
    records = join(frames, numbers.astype(np.float32))
    stores = [write(tmp_path / kind, records, kind, SHAPE) for kind in ("raw", "png", "jpeg")]
    for store in stores:
        np.testing.assert_array_equal(store.numbers(SHAPE), numbers.astype(np.float32))
    np.testing.assert_array_equal(np.array(stores[1].observations), records)


def test_frames_are_seen_together(tmp_path):
    frames = make_frames(12)
    stores = [write(tmp_path / kind, frames, kind) for kind in ("raw", "png")]
    raw, png = (stacked(store, 3).observations for store in stores)
    np.testing.assert_array_equal(png[2:8], raw[2:8])


def test_frames_of_a_broken_write_do_not_count(tmp_path, monkeypatch):
    frames = make_frames(12)
    whole = encoded.Encoding.encode
    calls = []

    def fail_once(encoding, frame):
        calls.append(frame)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return whole(encoding, frame)

    monkeypatch.setattr(encoded.Encoding, "encode", fail_once)
    times = np.full(6, 0.05)
    with DemonstrationWriter(tmp_path / "s", SHAPE, frames_as="png") as writer:
        with pytest.raises(OSError):
            writer.extend(frames[:6], np.zeros((6, 1)), times)
        writer.extend(frames[6:], np.zeros((6, 1)), times)
    np.testing.assert_array_equal(
        np.array(Demonstrations.open(tmp_path / "s").observations), frames[6:]
    )


@pytest.mark.parametrize(
    ("shape", "settings", "told"),
    [
        (SHAPE, {"frames_as": "gif"}, r"`frames_as` must be one of .*raw.*, got 'gif'"),
        ((17,), {"frames_as": "png"}, r"must be 'raw' for observations of shape \(17,\)"),
        ((8, 8, 6), {"frames_as": "png"}, "of 1 or 3 channels"),
        (SHAPE, {"frames_as": "png", "observation_dtype": np.float32}, "Image files hold uint8"),
    ],
)
def test_what_is_no_frame_is_refused(tmp_path, shape, settings, told):
    with pytest.raises(ValueError, match=told):
        DemonstrationWriter(tmp_path / "s", shape, **settings)
    assert not list(tmp_path.iterdir())


def cut_data(folder):
    path = folder / "frames.bin"
    path.write_bytes(path.read_bytes()[:-7])


def drop_end(folder):
    np.save(folder / "frame_ends.npy", np.load(folder / "frame_ends.npy")[:-1])


def turn_ends(folder):
    np.save(folder / "frame_ends.npy", np.load(folder / "frame_ends.npy")[::-1])


def forget_ends(folder):
    (folder / "frame_ends.npy").unlink()


def forget_data(folder):
    (folder / "frames.bin").unlink()


def change_meta(**changes):
    def change(folder):
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut_data, "`frame_ends` must increase up to"),
        (drop_end, "one row for each of the 12 frames"),
        (turn_ends, "`frame_ends` must increase up to"),
        (forget_ends, "`frame_ends.npy` must lie in a store"),
        (forget_data, "`frames.bin` must lie in a store"),
        (change_meta(frames={"kind": "gif", "shape": [4, 4, 3], "behind": 0}), "`frames_as`"),
        (change_meta(frames={"kind": "png", "shape": "no", "behind": 0}), "must be a list"),
        (change_meta(frames={"kind": "png", "shape": [4, 4.5, 3], "behind": 0}), "whole number"),
        (change_meta(frames=7), "`frames` must have kind"),
        (change_meta(format_version=1), "`format_version` must be 2, got 1"),
        (change_meta(frames={"kind": "png", "shape": [48, 81, 3], "behind": 0}), "must have the"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path, damage, told):
    write(tmp_path / "s", make_frames(12), "png")
    damage(tmp_path / "s")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        Demonstrations.open(tmp_path / "s")


def test_a_damaged_frame_is_refused_when_it_is_read(tmp_path):
    write(tmp_path / "s", make_frames(12), "png")
    data = bytearray((tmp_path / "s/frames.bin").read_bytes())
    data[:8] = b"no image"
    (tmp_path / "s/frames.bin").write_bytes(data)
    store = Demonstrations.open(tmp_path / "s")
    assert store.observations[1].shape == SHAPE
    with pytest.raises(ValueError, match=r"must hold a png file of \(48, 80\) pixels"):
        store.observations[0]


def test_the_settings_know_each_way():
    assert kept_frames.FRAMES_AS == encoded.FRAMES_AS


def test_batches_are_read_ahead_in_order_and_their_faults_raised_in_their_place():
    read = []

    def batches():
        for number in range(9):
            if number == 7:
                raise OSError("the disk is gone")
            read.append((number, threading.current_thread().name))
            yield number

    ahead = read_ahead(batches())
    assert [next(ahead) for _ in range(7)] == list(range(7))
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert [number for number, _ in read] == list(range(7))
    assert all(name.startswith("read-ahead") for _, name in read)


def test_reading_ahead_ends_with_whoever_reads():
    before = threading.active_count()
    ahead = cast(Generator[int], read_ahead(iter(range(1000))))
    assert next(ahead) == 0
    assert threading.active_count() == before + 1
    ahead.close()
    assert threading.active_count() == before
    assert list(read_ahead([])) == []
