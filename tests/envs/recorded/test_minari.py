"""Minari data sets: what its own package wrote is read, and what we wrote its package reads."""

import warnings

import cv2
import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from envs.recorded import load_minari, load_recording, write_minari
from envs.recorded.images import read_image
from ncp_control.records import entries_of
from tests.envs.recorded.test_writers import (  # noqa: F401 - a fixture
    has_gaps_and_names,
    same,
    tub,
)

STEPS = 12


def create(monkeypatch, root, *, observations, observation_space, actions, action_space, **told):
    """Write a data set of two episodes with Minari's own functions."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    buffers = [
        EpisodeBuffer(
            observations=observations(i, STEPS + 1),
            actions=actions(i, STEPS),
            rewards=[float(j) for j in range(STEPS)],
            terminations=[False] * STEPS,
            truncations=[j == STEPS - 1 for j in range(STEPS)],
        )
        for i in range(2)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wishes for an environment to evaluate in
        minari.create_dataset_from_buffers(
            "mine/test-v0",
            buffers,
            observation_space=observation_space,
            action_space=action_space,
            author="nobody",
            author_email="nobody@example.org",
            code_permalink="none",
            algorithm_name="walker",
            description="a test",
            data_format="hdf5",
            **told,
        )
    return root / "mine" / "test-v0"


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def numbers(recording, name):
    return np.concatenate([one.numbers[name] for one in recording.episodes])


def box(*shape, low=-np.inf, high=np.inf, dtype=np.float64):
    return spaces.Box(low, high, shape, dtype)


def test_a_data_set_of_a_known_environment_teaches_its_world(monkeypatch, tmp_path):
    env = gymnasium.make("Pendulum-v1")
    folder = create(
        monkeypatch,
        tmp_path,
        observations=lambda i, n: drawn(i, n, 3),
        observation_space=env.observation_space,
        actions=lambda i, n: np.clip(drawn(i + 9, n, 1), -2.0, 2.0).astype(np.float32),
        action_space=env.action_space,
        env="Pendulum-v1",
    )
    recording = load_recording(folder)
    assert recording.format == "minari" and recording.driver == "walker"
    assert recording.contract is not None and recording.contract.world == "gymnasium:Pendulum-v1"
    assert recording.frame_s == pytest.approx(0.05) and len(recording.episodes) == 2
    assert recording.inputs == tuple(e.name for e in entries_of(recording.contract.observation))
    sensed = np.stack([numbers(recording, name) for name in recording.inputs], axis=1)
    expected = np.concatenate([drawn(i, STEPS + 1, 3)[:-1] for i in range(2)])
    np.testing.assert_allclose(sensed, expected, rtol=1e-6)
    torques = np.concatenate([np.clip(drawn(i + 9, STEPS, 1), -2.0, 2.0) for i in range(2)])
    np.testing.assert_allclose(numbers(recording, *recording.actions), torques[:, 0] / 2, rtol=1e-5)
    assert recording.choose().contract is recording.contract
    assert recording.choose(inputs=["rate"]).contract is None
    with recording.as_demonstrations() as store:
        assert store.observations.shape == (2 * STEPS, 3) and store.actions.shape[1] == 1


def test_numbers_of_an_unknown_environment_are_numbered(monkeypatch, tmp_path):
    space = spaces.Dict({"arm": box(2), "grip": box(1)})
    folder = create(
        monkeypatch,
        tmp_path,
        observations=lambda i, n: {"arm": drawn(i, n, 2), "grip": drawn(i + 5, n, 1)},
        observation_space=space,
        actions=lambda i, n: drawn(i + 9, n, 2),
        action_space=box(2, low=-9.0, high=9.0),
    )
    with pytest.raises(ValueError, match="`frame_s` must be given for .* got None"):
        load_recording(folder)
    recording = load_recording(folder, options={"frame_s": 0.1, "max_episodes": 1})
    assert recording.actions == ("action.0", "action.1") and len(recording) == STEPS
    names = [one.name for one in recording.quantities]
    assert {"observation.arm.0", "observation.arm.1", "observation.grip"} < set(names)
    np.testing.assert_allclose(
        numbers(recording, "observation.grip"), drawn(5, STEPS + 1, 1)[:-1, 0]
    )
    np.testing.assert_allclose(numbers(recording, "action.1"), drawn(9, STEPS, 2)[:, 1], rtol=1e-6)
    np.testing.assert_allclose(recording.episodes[0].time_s, 0.1 * np.arange(STEPS))


@pytest.mark.parametrize("is_lossy", [True, False])
def test_frames_are_those_that_minari_returns(monkeypatch, tmp_path, is_lossy):
    def frames(i, n):
        coarse = np.random.default_rng(i).integers(0, 255, (n, 6, 8, 3), np.uint8)
        return coarse.repeat(8, axis=1).repeat(8, axis=2)

    folder = create(
        monkeypatch,
        tmp_path,
        observations=lambda i, n: frames(i, n),
        observation_space=spaces.Box(0, 255, (48, 64, 3), np.uint8),
        actions=lambda i, n: drawn(i, n, 1),
        action_space=box(1),
        jpeg_encoding=is_lossy,
    )
    recording = load_minari(folder, frame_s=0.05, image_size=(48, 64), crop=(0.0, 0.0))
    told = [episode.observations for episode in minari.load_dataset("mine/test-v0")]
    for episode, expected in zip(recording.episodes, told, strict=True):
        for path, pixels in zip(episode.image_paths, expected, strict=False):
            difference = np.asarray(read_image(path), int) - pixels
            assert np.abs(difference).max() <= (2 if is_lossy else 0)  # two decoders of a JPEG


def test_tub_to_minari_and_back_keeps_every_bit(tub, tmp_path, monkeypatch):  # noqa: F811
    write_minari(tub, tmp_path / "own-drive")
    again = load_recording(tmp_path / "own-drive")
    assert again.format == "minari" and again.driver == "human"
    same(tub, again)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = minari.MinariDataset(tmp_path / "own-drive" / "data")
    assert data.total_episodes == 2 and data.total_steps == len(tub)
    for episode, expected in zip(data.iterate_episodes(), tub.episodes, strict=True):
        steps = len(expected)
        assert len(episode.observations["frame"]) == steps + 1 and len(episode.actions) == steps
        np.testing.assert_array_equal(
            episode.observations["frame"][0], read_image(expected.image_paths[0])
        )
        np.testing.assert_array_equal(episode.infos["time_s"][:-1], expected.time_s)


def test_what_is_damaged_is_left_out_or_told(monkeypatch, tmp_path):
    folder = create(
        monkeypatch,
        tmp_path,
        observations=lambda i, n: drawn(i, n, 2),
        observation_space=box(2),
        actions=lambda i, n: drawn(i, n, 1),
        action_space=box(1),
    )
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
        observations = file["episode_0/observations"]
        assert isinstance(observations, h5py.Dataset)
        observations[3] = np.nan
        file.create_dataset("notes", data=[1])
    with pytest.warns(UserWarning, match="damaged episode"):
        recording = load_recording(folder, options={"frame_s": 0.1})
    assert recording.skipped == {"no episode": 1, "damaged episode": 1}
    assert len(recording.choose(inputs=["observation.0"])) == STEPS - 1
    for name, value in (("max_episodes", -1), ("max_episodes", 1.5), ("frame_s", "50ms")):
        with pytest.raises(ValueError, match=f"`{name}` must be .* got {value!r}"):
            load_recording(folder, options={"frame_s": 0.1, name: value})
    (folder / "data" / "main_data.hdf5").write_bytes(b"not hdf5")
    with pytest.raises(ValueError, match="must hold a whole HDF5 file, got .*main_data.hdf5"):
        load_recording(folder)


def test_choices_and_frames_of_several_sizes_are_refused(monkeypatch, tmp_path, tub):  # noqa: F811
    folder = create(
        monkeypatch,
        tmp_path,
        observations=lambda i, n: drawn(i, n, 2),
        observation_space=box(2),
        actions=lambda i, n: np.zeros(n, np.int64),
        action_space=spaces.Discrete(2),
    )
    with pytest.raises(ValueError, match="actions that are numbers, got choices"):
        load_recording(folder, options={"frame_s": 0.1})
    cv2.imwrite(str(tub.episodes[1].image_paths[0]), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="frames of one size for Minari, got 24 x 32, 48 x 64"):
        write_minari(tub, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_declared_episode_with_gaps_stays_one(tub, tmp_path):  # noqa: F811
    assert has_gaps_and_names(tub, write_minari, tmp_path / "set")
