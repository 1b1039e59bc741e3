"""Settings of training runs, in a module without torch so that a job's `--help` starts fast."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncp_control.devices import check_device, find_device
from ncp_control.learning.schedule import check_learning_rates
from ncp_control.names import check_name
from ncp_control.ranges import (
    check_above_zero,
    check_at_least,
    check_count,
    check_not_negative,
    check_positive,
    check_seed,
    check_share,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ImitationConfig:
    """Settings of an imitation run."""

    epochs: int = 12
    """Number of epochs. An epoch is one pass over the demonstrations, or `epoch_steps` optimizer
    steps; the policy is validated after each."""
    epoch_steps: int | None = None
    """Number of optimizer steps per epoch, so that short and long recordings train equally long;
    if None: one pass over the demonstrations."""
    patience: int | None = None
    """Number of epochs without a better score after which training stops early; if None: never."""
    window: int = 32
    """Number of frames per window; gradients flow back through all of them."""
    batch_size: int = 16
    """Number of windows per batch."""
    head_learning_rate: float = 1e-3
    """Adam's learning rate for all parameters except the circuit's."""
    circuit_learning_rate: float = 1e-2
    """Adam's learning rate for the circuit; its few parameters tolerate larger steps."""
    turn_weight: float = 2.0
    """α: the error of an action entry is weighted by exp(α |entry|); not used for choices."""
    turn_entries: tuple[int, ...] = ()
    """Indices of action entries, counted from 0. The largest of these entries sets the weight of
    the whole frame; if empty: each entry is weighted by its own size."""
    action_weights: tuple[float, ...] = ()
    """Weight of the error of each action entry, e.g. 10 1 if the first entry must be more accurate
    than the second; if empty: all 1."""
    gradient_clip: float = 1.0
    """Maximum norm of the gradient; larger gradients are scaled down to it."""
    weight_average: float = 0.0
    """Decay per step of a running average of the weights. The average is validated and saved; 0
    uses the current weights. An average steadies training on few or noisy data."""
    dagger_epochs: tuple[int, ...] | None = ()
    """DAgger epochs, counted from 0: before each, the learner acts and the expert labels its
    observations. If None: epoch 3 (train.py imitate: 2 to 6), as far as there are such."""
    precision: str = "float32"
    """Arithmetic of the head: float32, or bfloat16 on processors that support it natively."""
    device: str = "auto"
    """Device: cpu, cuda, or auto (cuda if available)."""
    seed: int = 0
    """Seed of initial weights, windows and augmentation."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "epoch_steps", "patience", "window", "batch_size")
        check_learning_rates(self, "head_learning_rate", "circuit_learning_rate")
        check_positive(self, "gradient_clip")
        check_not_negative("turn_weight", self.turn_weight)
        for weight in self.action_weights:
            check_above_zero("action_weights", weight)
        for entry in self.turn_entries:
            check_count("turn_entries", entry, least=0)
        check_seed(self)
        if any(not 0 <= epoch < self.epochs for epoch in self.asked_epochs):
            raise ValueError(
                f"`dagger_epochs` must be from 0 to below `epochs`, got {self.dagger_epochs!r} of"
                f" {self.epochs!r}. Name only epochs that come, e.g. with --imitation.dagger-epochs"
                " 1, or none."
            )
        check_device(self.device)
        check_share("weight_average", self.weight_average)
        check_name("precision", self.precision, ("float32", "bfloat16"))

    @property
    def asked_epochs(self) -> tuple[int, ...]:
        """DAgger epochs, with None in `dagger_epochs` replaced by its default."""
        if self.dagger_epochs is None:
            return (3,) if self.epochs > 3 else ()
        return self.dagger_epochs

    @property
    def torch_device(self) -> "torch.device":
        """Torch device that `device` selects on this machine."""
        return find_device(self.device)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Settings of a distillation run."""

    rounds: int = 20
    """Number of rounds. In each, the student learns from all rollouts so far, then acts; before the
    first, the teacher acts alone."""
    worlds: int = 16
    """Number of parallel environments. After each round, the student acts alone in half of them,
    and its return is measured there."""
    steps_per_round: int = 1000
    """Steps per environment and round, in new episodes; with fewer than an episode has, the student
    learns only how episodes begin."""
    mixed_rounds: int = 6
    """Number of rounds over which the teacher's share of the actions in the other half of the
    environments falls from 1 to 0."""
    updates_per_round: int = 1000
    """Number of optimizer steps per round."""
    window: int = 40
    """Number of steps per window; gradients flow back through all of them."""
    burn_in: int = 8
    """Number of steps at the start of a window that only warm up the hidden state. If an episode
    begins within them, the steps from its first one on count in the loss."""
    batch_size: int = 128
    """Number of windows per batch."""
    learning_rate: float = 1e-2
    """Adam's initial learning rate; it falls along half a cosine to a hundredth of this."""
    gradient_clip: float = 1.0
    """Maximum norm of the gradient; larger gradients are scaled down to it."""
    weight_average: float = 0.998
    """Decay per step of the running average of the weights."""
    seed: int = 0
    """Seed of environments, of the turns of student and teacher, and of windows."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "rounds", "steps_per_round", "updates_per_round", "batch_size")
        check_at_least(self, 0, "mixed_rounds")
        check_seed(self)
        check_learning_rates(self, "learning_rate")
        check_positive(self, "gradient_clip")
        check_share("weight_average", self.weight_average)
        if self.worlds < 2:
            raise ValueError(
                f"`worlds` must be at least 2, got {self.worlds!r}. The student needs one of its"
                " own to be measured in."
            )
        if not 0 <= self.burn_in < self.window <= self.steps_per_round:
            raise ValueError(
                "`burn_in` must be from 0 to below `window`, and that at most `steps_per_round`,"
                f" got {self.burn_in!r}, {self.window!r} and {self.steps_per_round!r}."
                " Correct the settings."
            )
