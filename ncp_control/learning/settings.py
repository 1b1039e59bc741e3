"""Settings of trainings, apart from what trains: a job's `--help` shows them without torch."""

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
    """Times that the policy learns and is validated: passes over the demonstrations, or as many
    steps as `epoch_steps` says."""
    epoch_steps: int | None = None
    """Optimizer steps of an epoch, so that a short recording teaches as long as a long one; a pass
    over the demonstrations if None."""
    patience: int | None = None
    """Epochs without a better score after which the training ends early; never if None."""
    window: int = 32
    """Frames of backpropagation through time."""
    batch_size: int = 16
    """Windows in a batch."""
    head_learning_rate: float = 1e-3
    """Adam's learning rate for everything but the circuit."""
    circuit_learning_rate: float = 1e-2
    """Adam's learning rate for the circuit, whose few parameters bear larger steps."""
    turn_weight: float = 2.0
    """α: the error in an entry of the action counts exp(α |entry|) times; of no use to choices."""
    turn_entries: tuple[int, ...] = ()
    """Entries, counted from 0, the largest of which decides how much all of a frame counts; if
    empty, each entry of the action counts by its own size."""
    action_weights: tuple[float, ...] = ()
    """How much the error in each entry of the action counts, e.g. 10 1 where the first is to be
    done more exactly than the second; all alike if empty."""
    gradient_clip: float = 1.0
    """Largest norm of a step's gradient."""
    weight_average: float = 0.0
    """Decay per step of the running average of the weights, which is what is validated and kept;
    0 keeps the weights as the last step left them. Steadies the training on few, noisy data."""
    dagger_epochs: tuple[int, ...] | None = ()
    """Epochs, counted from 0, before which the learner drives and the expert is asked; None is
    epoch 3, if there is one."""
    precision: str = "float32"
    """Arithmetic of the head: float32, or bfloat16 where the processor multiplies it natively."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
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
        """The epochs that `dagger_epochs` means."""
        if self.dagger_epochs is None:
            return (3,) if self.epochs > 3 else ()
        return self.dagger_epochs

    @property
    def torch_device(self) -> "torch.device":
        """The device that `device` means on this machine."""
        return find_device(self.device)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Settings of a distillation."""

    rounds: int = 20
    """Times that the student acts and then learns."""
    worlds: int = 16
    """Worlds side by side; in half of them the student always acts alone and is measured."""
    steps_per_round: int = 1000
    """Steps of each world in a round; at least as many as an episode has."""
    mixed_rounds: int = 6
    """Rounds over which the teacher's share of the turns falls from all to none."""
    updates_per_round: int = 1000
    """Optimizer steps in a round."""
    window: int = 40
    """Steps of backpropagation through time."""
    burn_in: int = 8
    """First steps of a window that only fill the memory."""
    batch_size: int = 128
    """Windows in a batch."""
    learning_rate: float = 1e-2
    """Adam's learning rate at the beginning; it falls along half a cosine to a hundredth."""
    gradient_clip: float = 1.0
    """Largest norm of a step's gradient."""
    weight_average: float = 0.998
    """Decay per step of the running average of the weights."""
    seed: int = 0
    """Seed of worlds, turns and windows."""

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
