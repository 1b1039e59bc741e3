"""Settings of `train.py sac`; imports nothing heavy."""

from dataclasses import dataclass
from typing import Any

from ncp_control.keyword_options import read_options
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least
from scripts.training.settings import Reinforcement, check_needs_no_frames
from scripts.unused_settings import refuse_changed

ALGORITHMS = ("sac", "tqc")


@dataclass(frozen=True, kw_only=True)
class SAC(Reinforcement):
    """Train by reinforcement learning with a replay buffer (SAC): fewer, costlier steps than PPO.

    For environments with observations of numbers and continuous actions.

    A resumed run (--resume) has its whole replay buffer but starts new episodes, so its results
    differ from those of a run that was never stopped.
    """

    algorithm: str = "sac"
    """Algorithm: sac, or tqc (SAC with critics that predict the distribution of returns)."""
    drop_probability: float = 0.0
    """Must be 0: with dropped frames a circuit needs the elapsed time, which this job does not
    give."""
    steps: int = 300_000
    """Number of environment steps, summed over all environments."""
    num_envs: int = 8
    """Number of parallel environments."""
    first_steps: int = 10_000
    """Number of steps with random actions before the first update."""
    updates: int = 1
    """Number of updates after each step of all environments. With 8 environments and 1 update, each
    step is used in about batch_size / 8 updates. More updates take longer and learn more from each
    step: in HalfCheetah, the return with 4 was 1.5 times that with 1, in fewer steps."""
    sequence_length: int = 8
    """Number of steps of backpropagation through time."""
    burn_in: int = 8
    """Number of frames before each sequence that bring the stored hidden state up to date."""
    critic_frames: int | None = None
    """Number of successive observations, with the actions between them, that the critics get as
    input. If None: 4 for observe=positions, else 1."""
    replay_steps: int = 1_000_000
    """Size of the replay buffer in steps; the newest are kept."""
    learning_rate: float = 1e-3
    """Learning rate of the critics, and of actor and critics of mlp. Falls linearly to a tenth."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_needs_no_frames(self.cell)
        check_name("algorithm", self.algorithm, ALGORITHMS)
        check_at_least(self, 1, "first_steps", "updates", "critic_frames", "replay_steps")
        check_at_least(self, 0, "burn_in")
        if self.is_timed:
            raise ValueError(
                f"`drop_probability` must be 0, got {self.drop_probability!r}. Learn where frames"
                " are lost by `train.py ppo`."
            )
        if self.cell == "mlp":
            of_a_circuit = ("neurons", "wiring", "encoder", "sequence_length", "burn_in")
            of_a_circuit += ("actor_lr_scale", "critic_frames", "reads", "tau_s", "synapses")
            refuse_changed(self, of_a_circuit, "with --cell mlp")
        if self.resume is None and self.steps <= self.first_steps:
            raise ValueError(
                f"`steps` must be more than the {self.first_steps} with random actions, got"
                f" {self.steps}. Raise it, or lower `first_steps`."
            )
        before = max(self.burn_in, self.resolved["critic_frames"] - 1)
        least = 1 if self.cell == "mlp" else (before + self.sequence_length) * self.num_envs
        for name in ("first_steps", "replay_steps"):
            if getattr(self, name) < least:
                raise ValueError(
                    f"`{name}` must be at least {least}, so that every world has taken a sequence"
                    f" and its burn-in, got {getattr(self, name)!r}. Raise it."
                )

    @property
    def resolved(self) -> dict[str, Any]:
        """Values of settings that are None by default: as set, or suited to the circuit."""
        hides = read_options(self.world_options).get("observe") == "positions"
        suits = {
            "critic_frames": 4 if hides and self.cell != "mlp" else 1,
            "actor_lr_scale": self.usual_actor_lr_scale,
        }
        values = {name: getattr(self, name) for name in suits}
        return suits | {name: value for name, value in values.items() if value is not None}
