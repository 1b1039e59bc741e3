"""What `train.py ppo` can be told, without heavy imports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ncp_control.keyword_options import read_options
from ncp_control.names import check_name
from ncp_control.ranges import check_at_least
from scripts.disturbances import DISTURBANCE_OF
from scripts.options import one_of
from scripts.training.settings import Reinforcement, check_head, refuse_changed


@dataclass(frozen=True, kw_only=True)
class PPO(Reinforcement):
    """Learn by reinforcement in any world: a new circuit, or one that has learned already."""

    policy: Path | None = None
    """Saved policy whose circuit goes on learning, with everything before it as it is, e.g.
    policies/pretrained/drive-ncp; a new circuit if None."""
    head: Annotated[str, one_of("head")] = "light"
    """Conv head of a new circuit in a world of frames; it learns with the circuit."""
    critic: str | None = None
    """mlp: two layers of 256; gru: 64 units before them, for observations that hide something. If
    None, gru for positions only and for the circuit of a policy, else mlp."""
    critic_first_steps: int | None = None
    """Steps in which the circuit is left alone while the critic gets to know it. If None, 16,384
    for the circuit of a policy, else 0."""
    steps: int | None = None
    """Steps of all worlds together, rounded up to whole rollouts. If None, 1,000,000; with
    --num-worlds, those of 244 rollouts, which is the same for up to 128 worlds."""
    rollout_steps: int | None = None
    """Steps of each world between two updates. If None, 256; with --num-worlds, what makes about
    4,096 of all worlds together, but at least a sequence."""
    batch_size: int | None = None
    """Steps of a minibatch. If None, 512; with --num-worlds, an eighth of a rollout."""
    epochs: int | None = None
    """Passes over each rollout. If None, 10; with --num-worlds 5 where a rollout has more than
    16,384 steps."""
    num_worlds: int | None = None
    """Worlds that are simulated at once by mujoco-warp on `device`, instead of `num_envs` by MuJoCo
    on the CPU, e.g. 4096 on a GPU: halfcheetah, walker2d, hopper or LaneKeeping-v0. It needs the
    extra gpu."""
    device: str = "cpu"
    """Where the circuit learns, and where the worlds of --num-worlds are: cpu, cuda, or auto for
    cuda where there is one."""
    log_std: float | None = None
    """Logarithm of the first deviation of actions that are numbers. If None, -1 for a new circuit
    and -2 for that of a policy."""

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
            of_a_new_circuit = ("cell", "neurons", "wiring", "encoder", "head", "drop_probability")
            refuse_changed(self, (*of_a_new_circuit, "reads", "tau_s", "synapses"), "--policy")
        elif self.cell == "mlp":
            of_a_circuit = ("neurons", "wiring", "encoder", "sequence_length", "actor_lr_scale")
            of_a_circuit += ("reads", "tau_s", "synapses", "critic", "critic_first_steps")
            refuse_changed(self, of_a_circuit, "--cell mlp")
        alone = self.resolved["critic_first_steps"]
        if self.resume is None and (self.steps or 0) <= alone:
            raise ValueError(
                f"`steps` must be more than the {alone} in which the critic learns alone, got"
                f" {self.steps}. Raise it, or lower `critic_first_steps`."
            )

    def _suited(self) -> dict[str, int]:
        """Return what suits the number of worlds, for settings that were left out."""
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
        """Refuse what goes only with worlds that are simulated one by one."""
        if self.num_worlds is None:
            return
        refused = ("policy", "num_envs", "workers", *DISTURBANCE_OF)
        why = "It is for worlds that are simulated one by one."
        refuse_changed(self, refused, "--num-worlds", why)
        if self.cell == "mlp":
            raise ValueError(
                "`cell` must have a memory with --num-worlds, got 'mlp'. Name a circuit, e.g. ltc."
            )

    @property
    def resolved(self) -> dict[str, Any]:
        """What was set, or else what suits the circuit, for settings that are None by default."""
        hides = read_options(self.world_options).get("observe") == "positions"
        suits: dict[str, Any] = {
            "critic": "gru" if hides and self.cell != "mlp" else "mlp",
            "critic_first_steps": 0,
            # At 10 times, which suits an LTC circuit without an encoder, one behind an encoder
            # earned less in all four walking tasks, on the mean of two seeds.
            "actor_lr_scale": 3.0 if self.cell == "ltc" else 1.0,
        }
        if self.policy is not None:
            suits = {"critic": "gru", "critic_first_steps": 16_384, "actor_lr_scale": 1.0}
        told = {name: getattr(self, name) for name in suits}
        return suits | {name: value for name, value in told.items() if value is not None}
