"""Settings of camera conditions in training; imports nothing heavy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs.conditions.training import RandomConditions
    from ncp_control.acting.closed_loop import Pilot
    from ncp_control.learning.imitation import Augment
    from ncp_control.policy import Policy
    from ncp_control.worlds import World


@dataclass(frozen=True, kw_only=True)
class MetConditions:
    """Settings of a training job in which the camera fails at times."""

    conditions: tuple[str, ...] = ()
    """Camera conditions in the windows that train: fog (all severities of fog), fog:1-3, all:1-3,
    …; see `envs.conditions`. Delay, wind and gain are not possible. If none is given: the images
    stay clean."""
    condition_share: float = 0.75
    """Share of the windows that have one of the conditions."""
    dagger_conditions: bool = False
    """Whether the conditions also apply while the learner acts before `dagger_epochs`, in the same
    share of its episodes. The recorded frames stay clean."""
    limited_sight: bool = False
    """Whether the expert's acceleration is lowered where the conditions hide the road from the
    camera: in fog to what lets the car stop within sight, in black frames to braking. Only in
    RoadDriving-v0."""

    def check_conditions(self, asked_epochs: Sequence[int]) -> None:
        """Refuse unknown or unusable conditions, and settings that have no use without conditions.

        Args:
            asked_epochs: Epochs before which the learner acts.

        Raises:
            ValueError: If one of the settings is wrong.
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
        for name in ("dagger_conditions", "limited_sight"):
            if getattr(self, name) and not self.conditions:
                raise ValueError(f"`{name}` must be left out without --conditions, got True.")
        if self.dagger_conditions and not asked_epochs:
            raise ValueError(
                "`dagger_conditions` must be left out where the learner never acts, got True. Say"
                " before which epochs it does, e.g. with --imitation.dagger-epochs 1 2."
            )

    def learner_in(self, world: "World", learner: "Policy", seed: int) -> "Policy | Pilot":
        """Return the learner, with the conditions before its camera if `dagger_conditions`.

        Args:
            world: The environment.
            learner: The policy that acts.
            seed: Seed of the conditions; use a different one for each call.
        """
        met = self.conditions_in(world) if self.dagger_conditions else None
        return learner if met is None else met.as_pilot(learner, seed)

    def conditions_in(self, world: "World") -> "RandomConditions | None":
        """Return the augmentation that adds the conditions to windows; None without conditions.

        Raises:
            ValueError: If the observations of the environment have no frames, or its contract does
                not suit `limited_sight`.
        """
        from envs.conditions import PICTURES, read_conditions
        from envs.conditions.training import RandomConditions
        from envs.driving.limited_sight import limited_sight
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
        relabel = limited_sight(world.contract) if self.limited_sight else None
        return RandomConditions(met, world.frame_s, share, in_record, frames.view.stack, relabel)


def one_after_another(*changes: "Augment | None") -> "Augment | None":
    """Return an augmentation that applies all given ones in order; None if all are None."""
    wanted: list[Callable] = [change for change in changes if change is not None]
    if not wanted:
        return None

    def change_all(batch, generator):  # type: ignore[no-untyped-def]
        for change in wanted:
            batch = change(batch, generator)
        return batch

    return change_all
