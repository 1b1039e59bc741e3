"""Settings of `train.py recorded`; imports nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ncp_control.learning.settings import ImitationConfig
from ncp_control.ranges import (
    check_at_least,
    check_given,
    check_not_negative,
    check_part,
    check_seed,
)
from scripts.options import one_of
from scripts.training.kept_frames import KeptFrames
from scripts.training.new_circuit import NewCircuit
from scripts.training.settings import check_circuit, check_head
from scripts.training.sized import Sized


@dataclass(frozen=True, kw_only=True)
class Recorded(KeptFrames, Sized, NewCircuit):
    """Train on recordings of a person: driving logs, robot datasets or your own tables.

    The first part of each recording trains, the last part tests; frames are not shuffled between
    the parts. docs/recordings.md lists the formats.
    """

    log: tuple[Path, ...] = ()
    """Recordings, or folders of recordings. Each is split separately; training uses all."""
    actions: tuple[str, ...] = ()
    """Names of the recorded numbers to predict, e.g. steering throttle. If none is given: steering,
    or all actions of a recording without steering. Numbers beyond [-1, 1] are scaled."""
    inputs: tuple[str, ...] = ()
    """Names of the recorded numbers that the policy gets beside frames, e.g. speed. If none is
    given: no numbers; for a recording without frames, all numbers but its actions."""
    log_options: tuple[str, ...] = ()
    """Options for the readers of the recordings as name=value, e.g. image_topic=/camera or
    crop=[0.3,0.1]."""
    models: Annotated[tuple[str, ...], one_of("cell")] = ("lstm", "cfc", "ncp")
    """Cells of the circuits to train, one after the other. If settings below are left to
    validation, the first circuit is trained without and with each of them, and the others only in
    the way with the lowest validation error."""
    head: Annotated[str, one_of("head")] = "light"
    """Conv head: light has 18,072 parameters, paper 79,420. motion gets two frames and how far the
    image moved between them; it cannot be exported yet."""
    imitation: ImitationConfig = field(
        default_factory=lambda: ImitationConfig(
            epochs=20,
            epoch_steps=20,
            patience=6,
            window=16,
            batch_size=8,
            turn_weight=0.0,
            weight_average=0.985,
        )
    )
    """Settings of the training loop. `seed` below replaces the seed among them."""
    train_share: float = 0.8
    """Share of each recording, from its beginning, for training; the rest is the test part."""
    validation_share: float = 0.15
    """Share of the training part, at its end, for validation, which chooses the checkpoint."""
    use_parts: bool = True
    """Whether parts that data.py split wrote beside a recording replace the shares."""
    smoothing_s: float | None = None
    """Standard deviation of the Gaussian that smooths the steering of the training part [s], for
    recordings steered by key taps. Steering of validation and test parts is never smoothed. If
    None: validation chooses between 0 and 0.2."""
    mirror: bool | None = None
    """Whether half of the windows are mirrored: helps on roads that bend to both sides, harms where
    all bends go to the same side. If None: validation decides."""
    shift: bool | None = None
    """Whether windows are shifted sideways, with the steering corrected to match. If None:
    validation decides."""
    balance: bool | None = None
    """Whether bends have a larger weight than straights, instead of `turn_weight` above. If None:
    validation decides."""
    results: Path | None = None
    """CSV file to which the test errors are appended, e.g. results/recorded.csv; if None: a new
    file in the first run folder."""
    threads: int | None = None
    """Number of PyTorch threads; if None: all cores, since convolutions use them."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""
    resume: Path | None = None
    """Run folder of one model of a stopped job; all of its models are resumed, with their
    settings."""
    seed: int = 0
    """Seed of weights and windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.log and self.resume is None:
            raise ValueError("`log` must be the folder of a recording, got none. Give --log PATH.")
        check_given(self, "models")
        self.check_frames()
        for model in self.models:
            check_circuit(model, self.wiring, setting="models")
        check_head(self.head)
        check_at_least(self, 1, "neurons", "threads")
        self.check_size()
        check_part("train_share", self.train_share)
        check_part("validation_share", self.validation_share)
        if self.smoothing_s is not None:
            check_not_negative("smoothing_s", self.smoothing_s)
        if self.balance and self.imitation.turn_weight:
            raise ValueError(
                f"`turn_weight` must be 0 with --balance, got {self.imitation.turn_weight!r}. Both"
                " say how much bends count."
            )
        check_seed(self)
        if self.imitation.dagger_epochs:
            raise ValueError(
                f"`dagger_epochs` must be left out for a recording, got"
                f" {self.imitation.dagger_epochs!r}. There is no expert to ask."
            )
