"""Settings of `train.py ppo`; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ncp_control.keyword_options import read_options
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least
from scripts.disturbances import DISTURBANCE_OF
from scripts.options import one_of
from scripts.training.settings import Reinforcement, check_head
from scripts.unused_settings import refuse_changed


@dataclass(frozen=True, kw_only=True)
class PPO(Reinforcement):
    """Train by reinforcement learning (PPO) in any environment: a new or a pretrained circuit."""

    policy: Path | None = None
    """Saved policy whose circuit is trained further, e.g. policies/pretrained/drive-ncp; the layers
    before its circuit stay fixed. If None: a new circuit."""
    head: Annotated[str, one_of("head")] = "light"
    """Conv head of a new circuit in an environment with frames; trained with the circuit."""
    critic: str | None = None
    """Network of the critic. mlp: two layers of 256 units; gru: a GRU of 64 units before these two
    layers, for partial observations. If None: gru for observe=positions and for the circuit of a
    policy, else mlp."""
    critic_first_steps: int | None = None
    """Number of steps at the beginning in which only the critic is trained. If None: 16,384 for the
    circuit of a policy, else 0."""
    steps: int | None = None
    """Number of environment steps, summed over all environments and rounded up to whole rollouts.
    If None: 1,000,000; with --num-worlds, the steps of 244 rollouts, which is about the same for
    up to 128 environments."""
    rollout_steps: int | None = None
    """Number of steps of each environment between two updates. If None: 256; with --num-worlds, as
    many as make about 4,096 in all environments together, but at least `sequence_length`."""
    batch_size: int | None = None
    """Number of steps in a minibatch. If None: 512; with --num-worlds, an eighth of a rollout."""
    epochs: int | None = None
    """Number of passes over each rollout. If None: 10; with --num-worlds and more than 16,384 steps
    in a rollout, 5."""
    num_worlds: int | None = None
    """Number of environments that mujoco-warp simulates at once on `device`, e.g. 4096 on a GPU,
    instead of `num_envs` by MuJoCo on the CPU. For halfcheetah, walker2d, hopper and
    LaneKeeping-v0; needs the extra gpu."""
    device: str = "cpu"
    """Device of the circuit and of the environments of --num-worlds: cpu, cuda, or auto (cuda if
    there is a GPU)."""
    log_std: float | None = None
    """Logarithm of the initial standard deviation of continuous actions. If None: -1 for a new
    circuit, -2 for the circuit of a policy."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "rollout_steps", "epochs", "num_worlds", "sequence_length")
        for name, value in self._suited().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        check_head(self.head)
        if self.critic is not None:
            check_name("critic", self.critic, ("mlp", "gru"))
        self._check_num_worlds()
        check_at_least(self, 0, "critic_first_steps")
        if self.policy is not None:
            of_a_new_circuit = ("cell", "neurons", "wiring", "encoder", "head")
            of_a_new_circuit += ("reads", "tau_s", "synapses")
            why = "It is a setting of a new circuit."
            refuse_changed(self, of_a_new_circuit, "with --policy", why)
            why = "Only a new circuit is trained with lost frames."
            refuse_changed(self, ("drop_probability",), "with --policy", why)
        elif self.cell == "mlp":
            of_a_circuit = ("neurons", "wiring", "encoder", "sequence_length", "actor_lr_scale")
            of_a_circuit += ("reads", "tau_s", "synapses", "critic", "critic_first_steps")
            refuse_changed(self, of_a_circuit, "with --cell mlp")
        alone = self.resolved["critic_first_steps"]
        if self.resume is None and (self.steps or 0) <= alone:
            raise ValueError(
                f"`steps` must be more than the {alone} in which the critic learns alone, got"
                f" {self.steps}. Raise it, or lower `critic_first_steps`."
            )

    def _suited(self) -> dict[str, int]:
        """Return default values of the settings that depend on `num_worlds`."""
        if self.num_worlds is None:
            return {"steps": 1_000_000, "rollout_steps": 256, "batch_size": 512, "epochs": 10}
        length = self.sequence_length
        steps = self.rollout_steps or max(4096 // self.num_worlds // length, 1) * length
        rollout = steps * self.num_worlds
        return {
            "steps": 244 * rollout,
            "rollout_steps": steps,
            "batch_size": max(rollout // 8 // length, 1) * length,
            "epochs": 10 if rollout <= 16_384 else 5,
        }

    def _check_num_worlds(self) -> None:
        """Refuse settings that only apply to environments simulated one by one."""
        if self.num_worlds is None:
            return
        refused = ("policy", "num_envs", "workers", *DISTURBANCE_OF)
        why = "It is for worlds that are simulated one by one."
        refuse_changed(self, refused, "with --num-worlds", why)
        if self.cell == "mlp":
            raise ValueError(
                "`cell` must have a memory with --num-worlds, got 'mlp'. Name a circuit, e.g. ltc."
            )

    @property
    def resolved(self) -> dict[str, Any]:
        """Values of settings that are None by default: as set, or suited to the circuit."""
        hides = read_options(self.world_options).get("observe") == "positions"
        suits: dict[str, Any] = {
            "critic": "gru" if hides and self.cell != "mlp" else "mlp",
            "critic_first_steps": 0,
            "actor_lr_scale": self.usual_actor_lr_scale,
        }
        if self.policy is not None:
            suits = {"critic": "gru", "critic_first_steps": 16_384, "actor_lr_scale": 1.0}
        values = {name: getattr(self, name) for name in suits}
        return suits | {name: value for name, value in values.items() if value is not None}
