"""The conditions that a training can be told to meet, without heavy imports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs.conditions.training import RandomConditions
    from ncp_control.learning.closed_loop import Pilot
    from ncp_control.learning.imitation import Augment
    from ncp_control.policy import Policy
    from ncp_control.worlds import World


@dataclass(frozen=True, kw_only=True)
class MetConditions:
    """Settings of a training in which the camera fails at times."""

    conditions: tuple[str, ...] = ()
    """What the camera meets in training: fog for all severities of fog, fog:1-3, all:1-3, …; see
    `envs.conditions`. Delay, wind and gain cannot be learned from. None leaves the pictures
    clean."""
    condition_share: float = 0.75
    """Share of the windows that have one of them."""
    dagger_conditions: bool = False
    """Whether the learner meets them, too, while it acts before `dagger_epochs`: in the same share
    of its episodes. What is recorded of these is clean."""

    def check_conditions(self, asked_epochs: Sequence[int]) -> None:
        """Refuse conditions that are unknown or cannot be learned from, and shares of none.

        Args:
            asked_epochs: Epochs before which the learner acts.
        """
        from envs.conditions import PICTURES, read_conditions

        read_conditions(self.conditions, PICTURES, setting="conditions")
        if not 0.0 < self.condition_share <= 1.0:
            raise ValueError(
                f"`condition_share` must be above 0 and at most 1, got {self.condition_share!r}."
            )
        usual = {field.name: field.default for field in fields(MetConditions)}["condition_share"]
        if not self.conditions and self.condition_share != usual:
            raise ValueError(
                f"`condition_share` must be left out without --conditions, got"
                f" {self.condition_share!r}."
            )
        if self.dagger_conditions and not self.conditions:
            raise ValueError("`dagger_conditions` must be left out without --conditions, got True.")
        if self.dagger_conditions and not asked_epochs:
            raise ValueError(
                "`dagger_conditions` must be left out where the learner never acts, got True. Say"
                " before which epochs it does, e.g. with --imitation.dagger-epochs 1 2."
            )

    def learner_in(self, world: "World", learner: "Policy", seed: int) -> "Policy | Pilot":
        """Return the learner as it acts while the expert is asked.

        Args:
            world: Where it acts.
            learner: Who acts.
            seed: Seed of the conditions, another one for each time.
        """
        met = self.conditions_in(world) if self.dagger_conditions else None
        return learner if met is None else met.seen_by(learner, seed)

    def conditions_in(self, world: "World") -> "RandomConditions | None":
        """Return what puts the conditions into windows of a world; None if there are none.

        Raises:
            ValueError: If the world shows no frames.
        """
        from envs.conditions import PICTURES, read_conditions
        from envs.conditions.training import RandomConditions
        from ncp_control.records import frames_part, record_frame

        if not self.conditions:
            return None
        observation = world.contract.observation
        frames = frames_part(observation)
        if frames is None:
            raise ValueError(
                f"`conditions` must be left out in {world.name!r}, got"
                f" {' '.join(self.conditions)}: it shows no frames."
            )
        met = read_conditions(self.conditions, PICTURES)
        share, in_record = self.condition_share, record_frame(observation)
        return RandomConditions(met, world.frame_s, share, in_record, frames.view.stack)


def one_after_another(*changes: "Augment | None") -> "Augment | None":
    """Return what makes all changes of a batch, in order; None if there is none."""
    wanted: list[Callable] = [change for change in changes if change is not None]
    if not wanted:
        return None

    def change_all(batch, generator):  # type: ignore[no-untyped-def]
        for change in wanted:
            batch = change(batch, generator)
        return batch

    return change_all
