"""What `train.py sac` can be told, without heavy imports."""

from dataclasses import dataclass
from typing import Any

from ncp_control.keyword_options import read_options
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least
from scripts.training.settings import Reinforcement, refuse_changed

ALGORITHMS = ("sac", "tqc")


@dataclass(frozen=True, kw_only=True)
class SAC(Reinforcement):
    """Learn by reinforcement from replayed experience: fewer steps than PPO, more work for each.

    The world shows numbers and takes continuous actions.

    A training that goes on (--resume) has all its experience, but begins new episodes, so its
    numbers are not those of one that was never stopped.
    """

    algorithm: str = "sac"
    """sac, or tqc: the same with critics that tell the distribution of returns."""
    drop_probability: float = 0.0
    """Must be 0: where frames are lost, a circuit has to be told the time, which this job does
    not."""
    steps: int = 300_000
    """Steps of all worlds together."""
    num_envs: int = 8
    """Worlds side by side."""
    first_steps: int = 10_000
    """Steps with random actions before the first update."""
    updates: int = 1
    """Updates after each step of all worlds: with 8 worlds and 1 update, each step is seen in about
    batch_size / 8 updates. More take longer and learn more from each step: in HalfCheetah 4 earned
    half as much again as 1, in fewer steps."""
    sequence_length: int = 8
    """Steps through which a circuit's gradients flow."""
    burn_in: int = 8
    """Frames before each sequence that bring the circuit's stored state up to date."""
    critic_frames: int | None = None
    """Observations that the critics see at once, with the actions between them. If None, 4 for
    positions only, else 1."""
    replay_steps: int = 1_000_000
    """Newest steps that are replayed."""
    learning_rate: float = 1e-3
    """Of the critics, and of everything in mlp; falls linearly to a tenth."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
            refuse_changed(self, of_a_circuit, "--cell mlp")
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
        """What was set, or else what suits the circuit, for settings that are None by default."""
        hides = read_options(self.world_options).get("observe") == "positions"
        suits = {
            "critic_frames": 4 if hides and self.cell != "mlp" else 1,
            "actor_lr_scale": 3.0 if self.cell == "ltc" else 1.0,
        }
        told = {name: getattr(self, name) for name in suits}
        return suits | {name: value for name, value in told.items() if value is not None}
