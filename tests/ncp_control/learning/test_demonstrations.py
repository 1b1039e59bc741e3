"""Demonstration stores: written whole or not at all, read, checked."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from ncp_control.learning.demonstrations import (
    Demonstrations,
    DemonstrationWriter,
    Windows,
)
from ncp_control.learning.demonstrations.store import MAX_META_BYTES

SHAPE = (4, 5, 3)


def make_frames(frames, seed=0, first=0):
    """Observations that carry their own number, so that a frame can be traced through a window."""
    generator = np.random.default_rng(seed)
    observations = generator.integers(0, 256, (frames, *SHAPE), dtype=np.uint8)
    numbers = np.arange(first, first + frames)
    actions = np.stack([numbers, -numbers], axis=1).astype(np.float32)
    dt_s = generator.uniform(0.02, 0.08, frames).astype(np.float32)
    return observations, actions, dt_s


def make_meta(**changes):
    """Return the text of a meta.json, whole but for the changes."""
    return json.dumps({"format_version": 1, "num_frames": 6, "observation_shape": SHAPE} | changes)


def write_store(folder, lengths, **settings):
    first = 0
    with DemonstrationWriter(folder, SHAPE, np.uint8, 2, **settings) as writer:
        for length in lengths:
            writer.append_episode(*make_frames(length, seed=first, first=first))
            first += length
    return Demonstrations.open(folder)


def test_round_trip(tmp_path):
    parts = [make_frames(n, seed=n) for n in (3, 1, 7)]
    with DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2, source={"track": 7}) as writer:
        writer.append_episode(*parts[0])
        writer.start_episode()
        for step in zip(*parts[1], strict=True):
            writer.append(*step)
        writer.start_episode()  # asked twice: still one episode
        writer.append_episode(*parts[2])
    store = Demonstrations.open(tmp_path / "s")
    for i, name in enumerate(("observations", "actions", "dt_s")):
        np.testing.assert_array_equal(getattr(store, name), np.concatenate([p[i] for p in parts]))
    assert isinstance(store.observations, np.memmap)
    assert store.episode_starts.tolist() == [0, 3, 4]
    assert [store.episode(i) for i in (0, 1, -1)] == [slice(0, 3), slice(3, 4), slice(4, 11)]
    assert (len(store), store.num_episodes, store.action_size) == (11, 3, 2)
    assert store.meta["source"] == {"track": 7}
    assert store.meta["format_version"] == 1


def test_frames_without_a_label_are_kept_and_marked(tmp_path):
    marks = [np.array([False, True, False]), None, np.array([False] * 2)]
    with DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2) as writer:
        for i, is_labelled in enumerate(marks):
            writer.append_episode(*make_frames((3, 1, 2)[i]), is_labelled)
        with pytest.raises(ValueError, match=r"`is_labelled` must be bool of shape \(2,\), got"):
            writer.extend(*make_frames(2), np.array([True]))
    store = Demonstrations.open(tmp_path / "s")
    assert store.is_labelled.tolist() == [False, True, False, True, False, False]
    assert store.meta["num_labelled"] == 2
    (tmp_path / "s" / "is_labelled.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"`is_labelled.npy` must lie in a store"):
        Demonstrations.open(tmp_path / "s")
    with pytest.raises(ValueError, match="`is_labelled` must be True for at least one frame"):
        dataclasses.replace(store, is_labelled=np.zeros(6, np.bool_))
    whole = write_store(tmp_path / "s", [4], overwrite=True)
    assert whole.is_labelled.all() and "num_labelled" not in whole.meta


def test_plain_numpy_reads_every_file(tmp_path):
    store = write_store(tmp_path / "s", [5, 6])
    read = np.load(tmp_path / "s" / "observations.npy", allow_pickle=False)
    np.testing.assert_array_equal(read, store.observations)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_appending_far_beyond_the_file_buffer(tmp_path):
    shape, chunk, chunks = (64, 64, 3), 50, 40  # 24 MB, in pieces
    row = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    with DemonstrationWriter(tmp_path / "s", shape) as writer:
        for k in range(chunks):
            numbers = np.arange(k * chunk, (k + 1) * chunk)
            seen = ((row[None] + numbers[:, None, None, None]) % 256).astype(np.uint8)
            writer.extend(seen, numbers[:, None], np.full(chunk, 0.05))
    store = Demonstrations.open(tmp_path / "s")
    assert len(store) == chunk * chunks
    assert store.num_episodes == 1
    np.testing.assert_array_equal(store.actions[:, 0], np.arange(chunk * chunks))
    for frame in (0, 49, 50, 1234, 1999):
        np.testing.assert_array_equal(store.observations[frame], (row + frame) % 256)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(tmp_path, error):
    with pytest.raises(error), DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2) as writer:
        writer.append_episode(*make_frames(9))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_nothing_under_the_final_name_before_close(tmp_path):
    writer = DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2)
    writer.append_episode(*make_frames(9))
    assert not (tmp_path / "s").exists()
    writer.close()
    assert len(Demonstrations.open(tmp_path / "s")) == 9


def test_floats_that_are_not_finite_are_refused(tmp_path):
    with DemonstrationWriter(tmp_path / "s", (2,), np.float32) as writer:
        writer.append(np.zeros(2, np.float32), [0.0], 0.1)
        frames = np.array([[0.0, 1.0], [np.nan, 1.0]], np.float32)
        with pytest.raises(ValueError, match="`observations` must be finite, .* at frame 1"):
            writer.extend(frames, np.zeros((2, 1)), np.full(2, 0.1))
        writer.close()  # a second close, at the end of the block, finds nothing to do
    assert len(Demonstrations.open(tmp_path / "s")) == 1


def test_an_empty_store_is_refused_and_removed(tmp_path):
    with (
        pytest.raises(ValueError, match="must hold at least one frame, got 0"),
        DemonstrationWriter(tmp_path / "s", SHAPE) as writer,
    ):
        writer.start_episode()
    assert list(tmp_path.iterdir()) == []


def test_overwrite(tmp_path):
    write_store(tmp_path / "s", [4])
    with pytest.raises(ValueError, match=r"`folder` must not exist yet, got .*overwrite=True"):
        DemonstrationWriter(tmp_path / "s", SHAPE)
    with (
        pytest.raises(RuntimeError),
        DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2, overwrite=True) as writer,
    ):
        writer.append_episode(*make_frames(9))
        raise RuntimeError
    assert len(Demonstrations.open(tmp_path / "s")) == 4
    assert len(write_store(tmp_path / "s", [6, 1], overwrite=True)) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_overwrite_spares_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="must be a store of demonstrations to be overwritten"):
        DemonstrationWriter(tmp_path / "home", SHAPE, overwrite=True)
    assert (tmp_path / "home" / "letter.txt").exists()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"actions": [[0.0, np.nan]]}, ValueError, r"`actions` must be finite, got \[0.0, nan\]"),
        ({"actions": [[0.0]]}, ValueError, r"`actions` must have shape \(1, 2\), got \(1, 1\)"),
        ({"dt_s": [-0.1]}, ValueError, "`dt_s` must be finite and not negative, got -0.1"),
        ({"dt_s": [np.nan]}, ValueError, "`dt_s` must be finite and not negative, got nan"),
        ({"dt_s": [0.1, 0.1]}, ValueError, r"`dt_s` must have shape \(1,\), got \(2,\)"),
        ({"observations": np.zeros((1, 4, 5), np.uint8)}, ValueError, "`observations` must have"),
        ({"observations": np.zeros((1, *SHAPE))}, TypeError, "must be uint8, .* got 'float64'"),
    ],
)
def test_bad_frames_are_refused_and_not_written(tmp_path, change, error, match):
    good = {
        "observations": np.zeros((1, *SHAPE), np.uint8),
        "actions": [[0.0, 0.0]],
        "dt_s": [0.05],
    }
    with DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2) as writer:
        writer.extend(**good)
        with pytest.raises(error, match=match):
            writer.extend(**{**good, **change})
        writer.extend(**good)
    assert len(Demonstrations.open(tmp_path / "s")) == 2


def test_bad_writer_settings(tmp_path):
    with pytest.raises(ValueError, match="`observation_dtype` must be uint8 or float32"):
        DemonstrationWriter(tmp_path / "s", SHAPE, np.int16)
    with pytest.raises(
        ValueError, match="`action_size` must be a whole number of at least 1, got 0"
    ):
        DemonstrationWriter(tmp_path / "s", SHAPE, action_size=0)
    assert list(tmp_path.iterdir()) == []


def test_missing_stores_and_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a finished store of demonstrations"):
        Demonstrations.open(tmp_path / "nowhere")
    write_store(tmp_path / "s", [4])
    (tmp_path / "s" / "actions.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"`actions.npy` must lie in a store"):
        Demonstrations.open(tmp_path / "s")


@pytest.mark.parametrize("name", ["observations", "actions", "dt_s", "episode_starts"])
@pytest.mark.parametrize("kept", [0, 40, -1])
def test_truncated_files_are_refused(tmp_path, name, kept):
    write_store(tmp_path / "s", [6, 5])
    path = tmp_path / "s" / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"`{name}.npy` must be a complete .npy file, got \d+"):
        Demonstrations.open(tmp_path / "s")


def test_a_pickle_is_not_executed(tmp_path):
    write_store(tmp_path / "s", [6])
    np.save(tmp_path / "s" / "actions.npy", np.array([{}] * 6), allow_pickle=True)
    with pytest.raises(ValueError, match=r"`actions.npy` must be a complete .npy file"):
        Demonstrations.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("actions", np.zeros((5, 2), np.float32), "`actions` must have 2 dimension"),
        ("actions", np.zeros((6, 0), np.float32), "`actions` must have 2 dimension"),
        ("actions", np.zeros((6, 2)), "`actions` must be float32, got '<f8'"),
        ("actions", np.zeros((6, 2), np.complex64), "`actions` must be float32, got '<c8'"),
        ("actions", np.zeros((6, 2), ">f4"), "`actions` must be float32, got '>f4'"),
        ("dt_s", np.ones(6, np.int64), "`dt_s` must be float32, got '<i8'"),
        (
            "episode_starts",
            np.array([0, 5, 3], np.uint64),
            "must be int64, got '<u8'",
        ),
        ("episode_starts", np.array([0.0, 3.0]), "`episode_starts` must be int64, got '<f8'"),
        ("episode_starts", np.zeros((1, 1), np.int64), "`episode_starts` must have 1 dimension"),
        ("episode_starts", np.arange(7), "`episode_starts` must have 1 dimension and at most one"),
        ("episode_starts", np.array([0, 3, 3]), "`episode_starts` must increase from 0"),
        ("episode_starts", np.array([], np.int64), "`episode_starts` must increase from 0"),
        ("observations", np.zeros((6, *SHAPE), ">f4"), "must be uint8 or float32, got '>f4'"),
        ("observations", np.zeros((6, *SHAPE), bool), r"must be uint8 or float32, got '\|b1'"),
        ("observations", np.array(1, np.uint8), "`observations` must have the shape"),
        ("actions", np.full((6, 2), np.inf, np.float32), "`actions` must be finite"),
        ("dt_s", np.zeros((6, 1), np.float32), "`dt_s` must have 1 dimension"),
        ("episode_starts", np.array([0, 6]), "`episode_starts` must increase from 0"),
        ("episode_starts", np.array([1, 3]), "`episode_starts` must increase from 0"),
        ("observations", np.zeros((7, *SHAPE), np.uint8), "`observations` must have the shape"),
    ],
)
def test_files_that_disagree_are_refused(tmp_path, name, array, match):
    write_store(tmp_path / "s", [6])
    np.save(tmp_path / "s" / f"{name}.npy", array, allow_pickle=False)
    with pytest.raises(ValueError, match=match):
        Demonstrations.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "`meta.json` must describe a store"),
        ("[]", "`meta.json` must describe a store"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format_version": NaN}', "NaN is not a JSON number"),
        ('{"format_version": 1, "format_version": 1}', "the key 'format_version' stands twice"),
        ("\u00e4".encode("latin-1"), "byte 0 is not UTF-8"),
        (" " * (MAX_META_BYTES + 1), "bytes, and at most"),
        (make_meta(format_version=True), "`format_version` must be 1, got True"),
        (make_meta(num_frames=6.0), "`num_frames` must be a whole number of at least 1, got 6.0"),
        (make_meta(num_frames=True), "`num_frames` must be a whole number"),
        (make_meta(num_frames=0), "`num_frames` must be a whole number"),
        (make_meta(observation_shape="453"), "`observation_shape` must be a list, got '453'"),
        (make_meta(observation_shape=[4, -5]), "`observation_shape` must be a whole number"),
        (make_meta(observation_shape=[4, 5.0]), "`observation_shape` must be a whole number"),
        (json.dumps({"format_version": 1}), "`meta.json` must describe a store"),
        (
            json.dumps({"format_version": 9, "num_frames": 1, "observation_shape": []}),
            "`format_version` must be 1, got 9",
        ),
    ],
)
def test_bad_meta_is_refused(tmp_path, text, match):
    write_store(tmp_path / "s", [6])
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "s" / "meta.json").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        Demonstrations.open(tmp_path / "s")


def test_an_unknown_episode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`index` must be below the number of episodes, 1, got 1"):
        write_store(tmp_path / "s", [10]).episode(1)


def test_overwrite_spares_what_is_no_part_of_a_store(tmp_path):
    write_store(tmp_path / "s", [4])
    (tmp_path / "s" / "notes.txt").write_text("by hand")
    with pytest.raises(ValueError, match=r"nothing but a store .* with 'notes\.txt' in it"):
        DemonstrationWriter(tmp_path / "s", SHAPE, overwrite=True)
    assert (tmp_path / "s" / "notes.txt").exists()


def test_sizes_may_be_numpy_integers(tmp_path):
    sizes = np.array([2, 3])
    with DemonstrationWriter(tmp_path / "s", (sizes[1],), np.float32, sizes[0]) as writer:
        writer.append(np.zeros(3, np.float32), [0.0, 1.0], 0.1)
    assert Demonstrations.open(tmp_path / "s").observations.shape == (1, 3)


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("cut_off", [1, 2])
def test_a_frame_that_was_cut_off_does_not_count(tmp_path, monkeypatch, cut_off, goes_on):
    def stop(first, rows):
        raise KeyboardInterrupt

    with DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2) as writer:
        writer.append_episode(*make_frames(3))
        with monkeypatch.context() as patch:
            patch.setattr(writer._arrays[cut_off], "write", stop)
            with pytest.raises(KeyboardInterrupt):
                writer.extend(*make_frames(2, seed=1))
        if goes_on:
            writer.extend(*make_frames(1, seed=2))
    store = Demonstrations.open(tmp_path / "s")
    parts = [make_frames(3), make_frames(1, seed=2)][: 2 if goes_on else 1]
    observations, actions, dt_s = map(np.concatenate, zip(*parts, strict=True))
    np.testing.assert_array_equal(store.observations, observations)
    np.testing.assert_array_equal(store.actions, actions)
    np.testing.assert_array_equal(store.dt_s, dt_s)


def test_a_take_may_be_thrown_away_and_nothing_is_added_to_it(tmp_path):
    with DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2) as writer:
        writer.append_episode(*make_frames(3))
        writer.discard()
        with pytest.raises(ValueError, match="the writer must be open, got a closed one"):
            writer.append_episode(*make_frames(3))
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_memory_is_checked_as_well():
    starts = np.zeros(1, np.int64)
    seen = np.array([[0.0], [np.nan]], np.float32)
    frames = {"actions": np.zeros((2, 1), np.float32), "dt_s": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match="`observations` must be finite, .* at frame 1"):
        Demonstrations(observations=seen, episode_starts=starts, **frames)


@pytest.mark.parametrize("name", ["observations", "actions", "dt_s", "episode_starts"])
@pytest.mark.parametrize("place", range(6, 118, 3))
def test_one_damaged_byte_in_a_header_is_told_in_a_sentence(tmp_path, name, place):
    write_store(tmp_path / "s", [6])
    path = tmp_path / "s" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    for byte in b" (x\x00\xff9":
        content[place] = byte
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # a few bytes are padding
            Demonstrations.open(tmp_path / "s")


@pytest.mark.parametrize("shape", [(2**40, 2), (10**30, 2), (-6, 2)])
def test_a_header_that_claims_more_than_the_file_is_refused_unread(tmp_path, shape):
    write_store(tmp_path / "s", [6])
    path = tmp_path / "s" / "actions.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(48))
    with pytest.raises(ValueError, match=r"`actions.npy` must be a complete .npy file, got"):
        Demonstrations.open(tmp_path / "s")


def test_bytes_behind_an_array_are_refused(tmp_path):
    write_store(tmp_path / "s", [6])
    with (tmp_path / "s" / "dt_s.npy").open("ab") as file:
        file.write(b"1")
    with pytest.raises(ValueError, match=r"`dt_s.npy` must be a complete .* its header stands for"):
        Demonstrations.open(tmp_path / "s")


def test_a_store_is_not_read_before_all_its_sizes_fit(tmp_path):
    """A hole of 32 GB in a file takes no place on the disk, and is not read into memory."""
    write_store(tmp_path / "s", [6])
    with (tmp_path / "s" / "actions.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**32, 2)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2**35)
    with pytest.raises(ValueError, match="`actions` must have 2 dimension"):
        Demonstrations.open(tmp_path / "s")


def test_damaged_observations_are_found_when_they_are_read(tmp_path):
    with DemonstrationWriter(tmp_path / "s", (2,), np.float32) as writer:
        writer.extend(np.ones((9, 2), np.float32), np.zeros((9, 1)), np.full(9, 0.1))
    seen = np.load(tmp_path / "s" / "observations.npy")
    seen[7, 1] = np.inf
    np.save(tmp_path / "s" / "observations.npy", seen)
    store = Demonstrations.open(tmp_path / "s")
    with pytest.raises(ValueError, match="`observations` must be finite, got .* at frame 7"):
        list(Windows(store, 2, 1, seed=0))


def test_a_source_that_json_cannot_hold_is_refused_before_recording(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        DemonstrationWriter(tmp_path / "s", SHAPE, source={"speed": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("observations", [np.float32(1.0), np.zeros((0, 3), np.float32)])
def test_a_store_in_memory_needs_a_frame(observations):
    empty = np.zeros(0, np.float32)
    with pytest.raises(ValueError, match="`observations` must hold at least one frame, got 0"):
        Demonstrations(
            observations=np.asarray(observations),
            actions=empty[:, None],
            dt_s=empty,
            episode_starts=np.zeros(1, np.int64),
        )


def test_the_limits_of_a_store_are_part_of_it(tmp_path):
    observations, actions, _ = make_frames(3)
    with DemonstrationWriter(tmp_path / "s", SHAPE, np.uint8, 2) as writer:
        writer.append_episode(observations, actions, np.zeros(3))  # no time may pass
    store = Demonstrations.open(tmp_path / "s")
    assert store.dt_s.tolist() == [0.0] * 3
    assert store.episode(-1) == slice(0, 3)
    with pytest.raises(ValueError, match="`index` must be below the number of episodes, 1, got -2"):
        store.episode(-2)
