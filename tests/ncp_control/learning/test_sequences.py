"""Traces as windows, and the mistakes a user's traces hold."""

import tracemalloc

import numpy as np
import pytest
import torch

from ncp_control.learning import sequences as sequences_module
from ncp_control.learning.sequences import Sequences, fingerprint, forecasting_windows, load_traces


def ramp(frames, dimensions=2):
    return np.arange(frames * dimensions, dtype=np.float32).reshape(frames, dimensions)


def test_windows_are_cut_as_the_paper_cuts_them():
    windows = forecasting_windows([ramp(1000, 17)], 32, 10)
    assert len(windows) == 97 and windows.inputs.shape == (97, 32, 17)
    assert torch.equal(windows.inputs[3], torch.from_numpy(ramp(1000, 17)[30:62]))
    assert torch.equal(windows.targets[3], torch.from_numpy(ramp(1000, 17)[31:63]))


def test_time_stamps_become_elapsed_times():
    times_s = np.array([5.0, 5.1, 5.3, 5.6, 5.7, 6.0, 6.1, 6.2])
    windows = forecasting_windows([ramp(8)], 3, 2, times_s=[times_s])
    expected = torch.tensor([[0.1, 0.1, 0.2], [0.2, 0.3, 0.1]])
    torch.testing.assert_close(windows.dt_s, expected, rtol=1e-4, atol=1e-5)


def test_an_epoch_shows_whole_batches_of_everything():
    inputs = torch.arange(10.0)[:, None, None]
    sequences = Sequences(inputs=inputs, targets=inputs, mask=torch.ones(10, 1).bool())
    batches = list(sequences.shuffled_batches(4, torch.Generator().manual_seed(0)))
    seen = torch.cat([batch.inputs.flatten() for batch in batches])
    assert [len(batch) for batch in batches] == [4, 4] and len(seen.unique()) == 8
    assert [len(batch) for batch in sequences.batches(4)] == [4, 4, 2]
    assert len(next(sequences.shuffled_batches(64, torch.Generator()))) == 10


def test_masked_batches_end_where_the_last_frame_counts():
    ends = torch.arange(64) % 8
    inputs = torch.arange(64.0)[:, None, None].expand(64, 10, 1)
    mask = torch.nn.functional.one_hot(ends, 10).bool()
    sequences = Sequences(inputs=inputs, targets=inputs, dt_s=torch.ones(64, 10), mask=mask)
    batches = list(sequences.shuffled_batches(8, torch.Generator().manual_seed(0)))
    # Eight of each length are gathered, so each batch is as long as its sequences.
    assert sorted(batch.inputs.shape[1] for batch in batches) == list(range(1, 9))
    assert all(batch.dt_s.shape == batch.mask.shape == batch.inputs.shape[:2] for batch in batches)
    assert all(batch.mask[:, -1].all() for batch in batches)
    assert torch.cat([batch.inputs[:, 0] for batch in batches]).unique().numel() == 64
    order = [batch.inputs.shape[1] for batch in batches]
    assert order != sorted(order)


def test_sequences_of_like_length_are_gathered_among_sixteen_batches():
    ends = torch.arange(20) % 4
    inputs = torch.arange(20.0)[:, None, None].expand(20, 4, 1)
    mask = torch.nn.functional.one_hot(ends, 4).bool()
    sequences = Sequences(inputs=inputs, targets=inputs, mask=mask)
    for seed in range(8):
        batches = list(sequences.shuffled_batches(1, torch.Generator().manual_seed(seed)))
        order = torch.randperm(20, generator=torch.Generator().manual_seed(seed)).tolist()
        shown = [int(batch.inputs[0, 0, 0]) for batch in batches]
        assert set(shown[:16]) == set(order[:16]) and set(shown[16:]) == set(order[16:])
        assert [batch.inputs.shape[1] for batch in batches] == [int(ends[i]) + 1 for i in shown]
    assert next(sequences.shuffled_batches(20, torch.Generator())).inputs.shape[1] == 4


def test_every_part_goes_along_to_a_device_and_into_a_choice():
    frames = torch.arange(6.0).view(2, 3, 1)
    whole = Sequences(
        inputs=frames, targets=frames, dt_s=frames[..., 0], mask=frames[..., 0].bool()
    )
    bare = Sequences(inputs=frames, targets=frames)
    for name in ("inputs", "targets", "dt_s", "mask"):
        assert getattr(whole.to(torch.device("meta")), name).is_meta
        assert torch.equal(getattr(whole[1:], name), getattr(whole, name)[1:])
    for part in (bare.to(torch.device("meta")), bare[1:]):
        assert part.dt_s is None and part.mask is None


def test_the_first_frame_that_is_not_finite_is_named():
    frames = torch.zeros(2, 3, 2)
    Sequences(inputs=frames, targets=frames, dt_s=torch.zeros(2, 3)).check_finite("lesson")
    for sample, frame in ((1, 2), (1, 0), (0, 1)):
        frames[sample, frame, 1] = torch.nan
        with pytest.raises(ValueError, match=f"inputs of sample {sample} at frame {frame}"):
            Sequences(inputs=frames, targets=torch.zeros(2, 3, 1)).check_finite("lesson")


def test_the_first_frame_of_a_file_that_is_not_finite_is_named(tmp_path):
    trace = ramp(6)
    trace[2, 1], trace[4, 0] = np.nan, np.inf
    np.save(tmp_path / "a.npy", trace)
    with pytest.raises(ValueError, match=r"a.npy .*, got \[4.0, nan\] in frame 2"):
        load_traces(tmp_path)


def test_the_shortest_traces_and_times():
    windows = forecasting_windows([ramp(3)], 1, 1, times_s=[np.array([1.0, 3.0, 4.0])])
    assert len(windows) == 1 and windows.dt_s.tolist() == [[2.0]]
    assert torch.equal(windows.inputs[0], torch.from_numpy(ramp(3)[:1]))
    with pytest.raises(ValueError, match="trace 0 must have at least 3 frames, got 2"):
        forecasting_windows([ramp(2)], 1, 1)
    for times_s in ([1.0, 1.0, 2.0], [1.0, 2.0, 2.0]):
        with pytest.raises(ValueError, match="trace 0 must increase"):
            forecasting_windows([ramp(3)], 1, 1, times_s=[np.array(times_s)])


def test_sequences_are_named_and_frozen():
    frames = torch.zeros(2, 3, 1)
    with pytest.raises(TypeError, match="positional"):
        Sequences(frames, frames)
    with pytest.raises(AttributeError, match="cannot assign"):
        Sequences(inputs=frames, targets=frames).inputs = frames


def test_traces_come_back_in_the_order_of_their_names(tmp_path):
    for i in (2, 0, 1):
        np.save(tmp_path / f"trace_{i}.npy", ramp(5) + i)
    assert [trace[0, 0] for trace in load_traces(tmp_path)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((5, 2), np.nan), r"a.npy must hold finite numbers, got \[nan, nan\] in frame 0"),
        (np.full((5, 2), 1e39), "a.npy must hold finite numbers, got .inf, inf. in frame 0"),
        (np.zeros((5, 2, 3)), r"shape \(frames, dimensions\), .* float64 of shape \(5, 2, 3\)"),
        (np.zeros((0, 2)), r"one or more each, got float64 of shape \(0, 2\)"),
        (np.zeros((5, 0)), r"one or more each, got float64 of shape \(5, 0\)"),
        (np.zeros((5, 2), dtype=bool), "a.npy must hold real numbers of shape .* got bool"),
        (np.zeros((5, 2), dtype="m8[s]"), "a.npy must hold real numbers of shape .* timedelta64"),
        (np.array([["x"]]), "a.npy must hold real numbers of shape"),
        (np.full((5, 2), 1j), "a.npy must hold real numbers of shape"),
        (np.array([{}]), "a.npy must be an array saved by NumPy, got a damaged .* Python objects"),
        (np.full((5, 2), 2.0**70).astype(np.longdouble) ** 2, "finite numbers, got .inf, inf. in"),
        (np.zeros((5, 3)), "equally many dimensions, got 2 in b.npy and 3 in a.npy"),
    ],
)
def test_damaged_traces_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.save(tmp_path / "b.npy", ramp(5))
    with pytest.raises(ValueError, match=message):
        load_traces(tmp_path)


def test_a_folder_without_traces_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="got '.*nowhere', which is no folder"):
        load_traces(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="`folder` must hold .npy files, got"):
        load_traces(tmp_path)


def test_an_archive_is_no_trace(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match="a.npy must be an array saved by NumPy"):
        load_traces(tmp_path)
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, ramp(5))
    with pytest.raises(ValueError, match="a.npy must be an array .* save one trace a file"):
        load_traces(tmp_path)
    (tmp_path / "a.npy").unlink()
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(ValueError, match="a.npy must be a file, got something else"):
        load_traces(tmp_path)


def test_a_trace_with_any_byte_of_its_header_damaged_loads_the_same_or_is_refused(tmp_path):
    path, trace = tmp_path / "a.npy", ramp(5)
    np.save(path, trace)
    whole, refused = path.read_bytes(), 0
    end = whole.index(b"}") + 1
    for place in range(end):
        for byte in b"\x00 9)L":
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                (found,) = load_traces(tmp_path)
            except ValueError as error:
                assert "a.npy must " in str(error) and "\n" not in str(error)
                refused += 1
            else:
                assert found.shape == trace.shape or found.shape == (trace.size, 1)
    assert refused > end


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_trace_that_was_cut_off_or_goes_on_is_refused(tmp_path, change):
    path = tmp_path / "a.npy"
    np.save(path, ramp(5))
    whole = path.read_bytes()
    path.write_bytes(whole[:change] if change < 0 else whole + bytes(change))
    with pytest.raises(ValueError, match="a.npy must "):
        load_traces(tmp_path)


def test_traces_that_claim_gigabytes_are_refused_before_they_take_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**26, 17)}
    for is_long in (False, True):
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            if is_long:
                file.truncate(file.tell() + 2**26 * 17 * 4)  # takes no room on the disk
        tracemalloc.start()
        message = "at most 134217728 numbers .* got 1140850688" if is_long else "a.npy must be an "
        with pytest.raises(ValueError, match=message):
            load_traces(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()
    np.save(path, ramp(5))
    np.save(tmp_path / "b.npy", ramp(6))
    monkeypatch.setattr(sequences_module, "MAX_NUMBERS", 22)
    assert len(load_traces(tmp_path)) == 2
    monkeypatch.setattr(sequences_module, "MAX_NUMBERS", 21)
    with pytest.raises(ValueError, match="`folder` must hold at most 21 numbers .*, got 22 in"):
        load_traces(tmp_path)


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "f2", "i4", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_trace_of_any_real_type_and_order_is_read(tmp_path, dtype, order):
    np.save(tmp_path / "a.npy", np.array(ramp(5), dtype=dtype, order=order))
    (found,) = load_traces(tmp_path)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, ramp(5))


def test_a_fingerprint_tells_traces_apart():
    same, other = [ramp(5), ramp(6)], [ramp(5), ramp(6) + 1e-6]
    assert fingerprint(same) == fingerprint([trace.copy() for trace in same])
    assert len({fingerprint(t) for t in (same, other, same[:1], same[::-1])}) == 4


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="trace 1 must have at least 34 frames, got 33"):
        forecasting_windows([ramp(40), ramp(33)], 32, 10)
    with pytest.raises(ValueError, match="`stride` must be a whole number of at least 1, got 0"):
        forecasting_windows([ramp(40)], 32, 0)
    unsorted = np.array([0.0, 1.0, 3.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="trace 0 must increase, got 2.0 after 3.0 at frame 3"):
        forecasting_windows([ramp(5)], 2, 1, times_s=[unsorted])
    dates = unsorted.astype("datetime64[s]")
    for times_s in (unsorted[:4], unsorted[:, None], dates):
        with pytest.raises(ValueError, match=r"must be one stamp a frame \[s\], shape \(5,\), got"):
            forecasting_windows([ramp(5)], 2, 1, times_s=[times_s])
    endless = np.array([0.0, 1.0, 2.0, 3.0, np.inf])
    with pytest.raises(ValueError, match="trace 0 must increase, got inf after 3.0"):
        forecasting_windows([ramp(5)], 2, 1, times_s=[endless])
    with pytest.raises(ValueError, match="`times_s` must be one array a trace, got 1 for 2"):
        forecasting_windows([ramp(5), ramp(5)], 2, 1, times_s=[endless])
    with pytest.raises(ValueError, match="`traces` must be at least one, got 0 traces"):
        forecasting_windows([], 2, 1)
    for traces, shape in (([ramp(5), ramp(5)[:, 0]], r"\(5,\) for trace 1"), (ramp(5), r"\(2,\)")):
        with pytest.raises(ValueError, match=rf"arrays \(frames, dimensions\), got shape {shape}"):
            forecasting_windows(traces, 2, 1)
    with pytest.raises(ValueError, match=r"equally many dimensions, got \[2, 1\]"):
        forecasting_windows([ramp(5), ramp(5)[:, :1]], 2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"targets": torch.zeros(5, 5)},
            r"must have shape \(5, 5, output\), got \(5, 5\)",
        ),
        ({"inputs": torch.zeros(4, 5, 2)}, r"`targets` must have shape \(4, 5, output\)"),
        ({"dt_s": torch.zeros(5)}, r"`dt_s` must have shape \(5, 5\), got \(5,\)"),
        ({"mask": torch.zeros(5, 5)}, "`mask` must be bool, got torch.float32"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(change, message):
    whole = {"inputs": torch.zeros(5, 5, 2), "targets": torch.zeros(5, 5, 1)}
    with pytest.raises(ValueError, match=message):
        Sequences(**whole | change)


def test_only_targets_that_count_have_to_be_finite():
    targets, mask = torch.zeros(2, 3, 1), torch.ones(2, 3, dtype=torch.bool)
    targets[1, 2] = torch.nan
    with pytest.raises(ValueError, match="in the targets of sample 1 at frame 2"):
        Sequences(inputs=torch.zeros(2, 3, 1), targets=targets).check_finite("training")
    mask[1, 2] = False
    Sequences(inputs=torch.zeros(2, 3, 1), targets=targets, mask=mask).check_finite("training")


@pytest.mark.parametrize("frame", [1, 3])
def test_all_inputs_have_to_be_finite(frame):
    inputs, mask = torch.zeros(2, 4, 1), torch.zeros(2, 4, dtype=torch.bool)
    mask[1, 2] = True
    inputs[1, frame] = torch.inf
    with pytest.raises(ValueError, match=f"in the inputs of sample 1 at frame {frame}"):
        Sequences(inputs=inputs, targets=torch.zeros(2, 4, 1), mask=mask).check_finite("training")


def test_times_that_no_clock_shows_are_refused():
    frames = torch.zeros(2, 3, 1)
    for bad in (-1.0, torch.nan, torch.inf):
        dt_s = torch.full((2, 3), 0.1)
        dt_s[1, 2] = bad
        with pytest.raises(ValueError, match=f"`lesson` must have finite times >= 0 .*, got {bad}"):
            Sequences(inputs=frames, targets=frames, dt_s=dt_s).check_finite("lesson")


def test_what_is_no_tensor_of_three_axes_is_refused():
    frames = torch.zeros(2, 3, 1)
    with pytest.raises(ValueError, match="`inputs` must be a tensor, got 'ndarray'"):
        Sequences(inputs=frames.numpy(), targets=frames)
    with pytest.raises(ValueError, match=r"`inputs` must have shape .*, got \(3,\)"):
        Sequences(inputs=torch.zeros(3), targets=frames)
