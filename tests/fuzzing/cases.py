"""What a reader is tried on, and the cases of our own files: policies, demonstrations, runs, …"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import RescaleAction
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter, Windows
from ncp_control.learning.reinforcement.checkpoint import load_checkpoint, save_checkpoint
from ncp_control.learning.reinforcement.ppo import SequencePPO
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.rollouts import Rollouts
from ncp_control.learning.run import Run
from ncp_control.learning.sequences import load_traces
from ncp_control.policy import Policy
from policies.motor_circuits import make_motor_cell

PRETRAINED = Path(__file__).parents[2] / "policies" / "pretrained"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader of files: how to make a valid folder, and how to read one."""

    make: Callable[[Path], None]
    read: Callable[[Path], None]
    """Reads the folder and uses what came back; raises AssertionError if it is not usable."""


def _read_policy(folder: Path) -> None:
    policy = Policy.load(folder)
    size = getattr(policy, "observation_size", None)
    frame = np.zeros((78, 200, 3), np.uint8) if size is None else np.zeros(size)
    try:
        action = policy.act(frame)
    except ValueError:
        return  # changed weights can make it refuse, too
    assert np.isfinite(action).all() and (np.abs(action) <= 1).all(), action


def _copy(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.copytree(PRETRAINED / name, folder, dirs_exist_ok=True) and None


def _make_store(folder: Path, frames_as: str = "raw") -> None:
    shutil.rmtree(folder)
    rng = np.random.default_rng(0)
    with DemonstrationWriter(folder, (6, 8, 3), frames_as=frames_as) as writer:
        for _ in range(2):
            writer.append_episode(
                rng.integers(0, 255, (20, 6, 8, 3), dtype=np.uint8),
                rng.uniform(-1, 1, (20, 1)),
                np.full(20, 0.03),
            )


def _read_store(folder: Path) -> None:
    store = Demonstrations.open(folder)
    batch = next(iter(Windows([store], length=4, batch_size=2, seed=0)))
    assert torch.isfinite(batch.actions).all() and torch.isfinite(batch.dt_s).all()


def _make_traces(folder: Path) -> None:
    for name in "ab":
        np.save(folder / f"{name}.npy", np.random.default_rng(0).normal(size=(30, 3)))


def _read_traces(folder: Path) -> None:
    assert all(np.isfinite(trace).all() for trace in load_traces(folder))


def _make_results(folder: Path) -> None:
    results = ResultsFile(folder / "table.csv", ["mse", "note"])
    for seed in range(4):
        results.append(
            "ltc", seed, "32 units, rate 0.01", {"mse": 0.5, "note": 'a "b", c'}, "python x"
        )


def _read_results(folder: Path) -> None:
    results = ResultsFile(folder / "table.csv", ["mse", "note"])
    before = len(results.rows())
    results.append("new", 9, "s", {"mse": 1.0, "note": ""}, "python x")
    assert len(results.rows()) == before + 1, "an appended row must be read back"


def _make_rollouts(folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    Rollouts(
        observations=torch.randn(2, 9, 3, generator=rng),
        actions=torch.rand(2, 9, 1, generator=rng),
        dt_s=torch.full((2, 9), 0.03),
        reset=torch.zeros(2, 9, dtype=torch.bool),
    ).save(folder / "round-000.safetensors")


def _read_rollouts(folder: Path) -> None:
    rollouts = Rollouts.load(folder / "round-000.safetensors")
    rollouts.windows(2, 4, torch.Generator().manual_seed(0))


def _make_run(folder: Path) -> None:
    run = Run(folder)
    (folder / "config.json").write_text(json.dumps({"task": "drive", "settings": {"seed": 0}}))
    for step in range(4):
        run.log(step, loss=0.5 / (step + 1))
    for path in folder.glob("events.*"):
        path.unlink()


def _read_run(folder: Path) -> None:
    run = Run.reopen(folder, step=2)
    assert all(row["step"] <= 2 for row in run.rows)


def _learner() -> SequencePPO:
    env = VecNormalize(make_vec_env(lambda: RescaleAction(gym.make("InvertedPendulum-v5"), -1, 1)))
    cell = make_motor_cell("ltc", 4, 6, 1, frame_s=0.04)
    return SequencePPO(env, policy_kwargs={"cell": cell}, n_steps=32, batch_size=32, device="cpu")


_LEARNER: list[SequencePPO] = []


def _make_checkpoint(folder: Path) -> None:
    if not _LEARNER:
        _LEARNER.append(_learner().learn(32))
    save_checkpoint(folder / "training.pt", _LEARNER[0])


def _read_checkpoint(folder: Path) -> None:
    load_checkpoint(folder / "training.pt", _LEARNER[0])


OWN_FILES = {
    "policy": Reader(make=_copy("drive-ncp"), read=_read_policy),
    "walker": Reader(make=_copy("walker2d-ltc"), read=_read_policy),
    "lstm": Reader(make=_copy("drive-lstm"), read=_read_policy),
    "store": Reader(make=_make_store, read=_read_store),
    "store-png": Reader(make=partial(_make_store, frames_as="png"), read=_read_store),
    "traces": Reader(make=_make_traces, read=_read_traces),
    "results": Reader(make=_make_results, read=_read_results),
    "rollouts": Reader(make=_make_rollouts, read=_read_rollouts),
    "run": Reader(make=_make_run, read=_read_run),
    "checkpoint": Reader(make=_make_checkpoint, read=_read_checkpoint),
}
"""Readers of what ncp-control itself writes, by name."""
