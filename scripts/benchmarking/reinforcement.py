"""What a step of reinforcement costs: PPO with a circuit against sb3-contrib's RecurrentPPO."""

from typing import Any

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from ncp_control.markdown import markdown_table
from scripts.timing import Action, TimedRow
from scripts.training.ppo import make_model
from scripts.training.ppo_settings import PPO
from scripts.training.reinforcement import Task

NUM_ENVS, ROLLOUT_STEPS = 8, 128
STEPS = NUM_ENVS * ROLLOUT_STEPS
"""Steps of one rollout, after which comes one update: 10 passes in batches of 512."""


def rollouts_and_updates() -> dict[str, Action]:
    """One rollout and its update in Walker2d-v5, each actor with its own worlds.

    The critic of all is the same: two layers of 256 units. Episodes end within the rollouts, as
    they do while a walker learns.
    """
    models: dict[str, OnPolicyAlgorithm] = {
        "sb3-contrib, nn.LSTM(32)": _stock(32),
        "sb3-contrib, nn.LSTM(256), its default": _stock(256),
        "ours, LTC 32": _ours("ltc"),
        "ours, CfC 32": _ours("cfc"),
        "ours, LSTM 32": _ours("lstm"),
        "sb3, MLP 256 x 256, no memory": _ours("mlp"),
    }
    return {name: (lambda model=model: _learn(model)) for name, model in models.items()}


def reinforcement_table(rows: list[TimedRow]) -> str:
    """Return steps a second, all worlds together, and the ratio to the stock LSTM."""
    lines = [
        [row.name, f"{STEPS * 1e6 / row.median_us:,.0f} ± {row.spread:.0%}", f"{row.ratio:.2f}"]
        for row in rows
    ]
    header = ["actor", "steps/s", f"times as fast as {rows[0].name}"]
    return f"### {rows[0].table}\n\n{markdown_table(header, lines)}"


def _ours(cell: str) -> OnPolicyAlgorithm:
    settings = PPO(world="walker2d", cell=cell, num_envs=NUM_ENVS, rollout_steps=ROLLOUT_STEPS)
    return make_model(Task.of(settings))


def _stock(units: int) -> OnPolicyAlgorithm:
    """Return sb3-contrib's own, in the same worlds with the same settings."""
    layers: dict[str, Any] = {
        "lstm_hidden_size": units,
        "enable_critic_lstm": False,
        "net_arch": {"pi": [], "vf": [256, 256]},
        "activation_fn": torch.nn.ReLU,
        "log_std_init": -1.0,
    }
    env = _ours("mlp").env
    assert env is not None
    return RecurrentPPO(
        "MlpLstmPolicy",
        env,
        n_steps=ROLLOUT_STEPS,
        batch_size=512,
        n_epochs=10,
        policy_kwargs=layers,
        seed=0,
        device="cpu",
    )


def _learn(model: OnPolicyAlgorithm) -> None:
    model.learn(STEPS, reset_num_timesteps=False)
