"""Windows drawn from demonstration stores."""

import dataclasses

import numpy as np
import pytest
import torch

from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter, Windows
from tests.ncp_control.learning.test_demonstrations import SHAPE, write_store


@pytest.mark.parametrize("length", [1, 3, 8, 16])
@pytest.mark.parametrize("epoch", range(5))
def test_windows_count_every_frame_once_and_stay_in_their_episode(tmp_path, length, epoch):
    lengths = [16, 1, 37, 8, 7, 100]
    store = write_store(tmp_path / "s", lengths)
    episode_of = np.repeat(np.arange(len(lengths)), lengths)
    counted, num_windows = [], 0
    for batch in Windows(store, length, 4, seed=3, epoch=epoch):
        numbers = batch.actions[..., 0].long()
        num_windows += len(numbers)
        counted += numbers[batch.mask].tolist()
        for row, mask, dt_s in zip(numbers, batch.mask, batch.dt_s, strict=True):
            assert len(np.unique(episode_of[row.numpy()])) == 1
            real = len(row.unique())
            assert (row[:real].diff() == 1).all()
            assert not mask[real:].any()
            assert (dt_s[real:] == 0).all()
    assert sorted(counted) == list(range(len(store)))
    assert num_windows <= sum(-(-n // length) + 1 for n in lengths)


def test_a_batch_carries_its_frames(tmp_path):
    store = write_store(tmp_path / "s", [16, 3, 37])
    epoch = Windows(store, 8, 4, seed=0)
    batches = list(epoch)
    assert len(epoch) == len(batches)
    assert epoch.num_frames == 56
    for batch in batches:
        numbers = batch.actions[..., 0].long().numpy()
        assert batch.observations.shape == (*numbers.shape, *SHAPE)
        assert batch.observations.dtype == torch.uint8
        assert (batch.actions.dtype, batch.dt_s.dtype) == (torch.float32, torch.float32)
        np.testing.assert_array_equal(batch.observations.numpy(), store.observations[numbers])
        mask = batch.mask.numpy()
        np.testing.assert_array_equal(batch.dt_s.numpy()[mask], store.dt_s[numbers][mask])


def test_windows_are_deterministic_and_differ_between_epochs(tmp_path):
    store = write_store(tmp_path / "s", [64, 64])

    def order(seed, epoch):
        return torch.cat([b.actions[:, 0, 0] for b in Windows(store, 8, 4, seed, epoch)]).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    # Not only the order: the cuts move as well.
    assert {n % 8 for n in order(0, 0)} != {n % 8 for n in order(0, 1)}


def test_frames_without_a_label_are_seen_but_do_not_count(tmp_path):
    store = write_store(tmp_path / "s", [64, 40])
    is_labelled = np.zeros(len(store), np.bool_)
    is_labelled[[5, 6, 63, 90]] = True
    marked = dataclasses.replace(store, is_labelled=is_labelled)
    for epoch in range(4):
        batches = list(Windows(marked, 8, 4, seed=0, epoch=epoch))
        counted = [n for b in batches for n in b.actions[..., 0][b.mask].tolist()]
        assert sorted(counted) == [5, 6, 63, 90]
        assert all(batch.mask.any(dim=1).all() for batch in batches)
        for batch in batches:
            numbers = batch.actions[..., 0].long().numpy()
            np.testing.assert_array_equal(batch.observations.numpy(), store.observations[numbers])


def test_several_stores_are_used_as_one(tmp_path):
    stores = [write_store(tmp_path / name, [n]) for name, n in (("a", 20), ("b", 33))]
    batches = list(Windows(stores, 8, 5, seed=0))
    counted = sorted(n for b in batches for n in b.actions[..., 0][b.mask].tolist())
    assert counted == sorted([*range(20), *range(33)])


def test_bad_window_settings(tmp_path):
    store = write_store(tmp_path / "s", [5])
    with pytest.raises(ValueError, match="`length` must be a whole number of at least 1, got 0"):
        Windows(store, 0, 4, seed=0)
    with pytest.raises(
        ValueError, match="`batch_size` must be a whole number of at least 1, got -2"
    ):
        Windows(store, 4, -2, seed=0)
    with pytest.raises(ValueError, match="`epoch` must be a whole number of at least 0, got -1"):
        Windows(store, 4, 2, seed=0, epoch=-1)
    with pytest.raises(ValueError, match="`demonstrations` must hold at least one store"):
        Windows([], 4, 2, seed=0)
    with DemonstrationWriter(tmp_path / "t", (2,)) as writer:
        writer.append(np.array([1, 2], np.uint8), [0.0], 0.1)
    with pytest.raises(ValueError, match="`demonstrations` must agree in observation shape"):
        Windows([store, Demonstrations.open(tmp_path / "t")], 4, 2, seed=0)


def test_an_episode_as_long_as_a_window_is_one_window(tmp_path):
    store = write_store(tmp_path / "s", [8])
    for epoch in range(10):
        (batch,) = Windows(store, 8, 4, seed=0, epoch=epoch)
        assert batch.mask.tolist() == [[True] * 8]


def test_the_first_epoch_is_number_zero(tmp_path):
    store = write_store(tmp_path / "s", [64])
    first, numbered = (next(iter(w)) for w in (Windows(store, 8, 4, 0), Windows(store, 8, 4, 0, 0)))
    assert torch.equal(first.actions, numbered.actions)
