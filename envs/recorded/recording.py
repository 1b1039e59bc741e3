"""Common type of all recordings: episodes of frames and named numbers with their true times."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from envs.recorded.images import Framing, ImageFile, read_image
from envs.recorded.quantities import STEERING, Quantity, find_names, fit_scale, scaled
from envs.recorded.stretches import CENTER, Cuts, Stretch
from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    FramesContract,
    ObservationContract,
    VectorContract,
)
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.records import array_of, entries_of, frames_part, join

FRAMES_WITH_PROGRESS = 3000
"""Number of frames from which on a progress bar is shown."""
_LIKE_STEERING = re.compile("steer|angle", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """Observations and actions, ready to be written as demonstrations; images stay on disk.

    A recording holds all numbers of its format. `actions` are those to be learned, `inputs` those
    in the observation; `choose` changes both.
    """

    folder: Path
    """Folder or file that was loaded."""
    format: str
    """Name of the reader, e.g. `udacity`."""
    episodes: tuple[Stretch, ...]
    """Episodes of all cameras, in the order in which they begin."""
    framing: Framing | None
    """Crop and size of the frames; None for a recording of numbers alone."""
    frame_s: float
    """Nominal frame interval [s]: the median of the center camera."""
    num_listed: int
    """Number of frames that the log lists; an unreadable line or record counts as one."""
    quantities: tuple[Quantity, ...]
    """All numbers of the recording."""
    actions: tuple[str, ...] = (STEERING,)
    """Names of the quantities to be learned."""
    inputs: tuple[str, ...] = ()
    """Names of the quantities in the observation, beside the frames or alone."""
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Offset and factor of the scaled actions, by name."""
    cuts: Cuts = field(default_factory=Cuts)
    """Rules by which the recording was cut into episodes."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of listed frames that could not be used, by reason."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """Number of frames used with a change, such as clipped steering, by kind of change."""
    contract: Contract | None = None
    """Contract of observations and actions, if the recording contains one."""
    driver: str = "human"
    """Name of the driver, for reports."""
    robot: str = ""
    """Type of the robot; "" if the recording does not name one."""
    unread: tuple[str, ...] = ()
    """Names of what a LeRobotDataset holds beside these frames and numbers, e.g. other cameras."""

    def __len__(self) -> int:
        return sum(len(episode) for episode in self.episodes)

    @property
    def num_skipped(self) -> int:
        """Number of images, lines and records that could not be used, for any reason."""
        return sum(self.skipped.values())

    @property
    def observation(self) -> ObservationContract:
        """Contract of the observations: frames, numbers, or both."""
        if self.contract is not None:
            return self.contract.observation
        known = {one.name: one for one in self.quantities}
        numbers = VectorContract(entries=tuple(known[name].as_entry() for name in self.inputs))
        if self.framing is None:
            return numbers
        frames = FramesContract(shape=(*self.framing.image_size, 3), view=self.framing.view)
        return DictContract(parts={"frames": frames, "numbers": numbers}) if self.inputs else frames

    @property
    def action(self) -> tuple[ActionContract, ...]:
        """Contract of the actions."""
        if self.contract is not None:
            return self.contract.action
        known = {one.name: one for one in self.quantities}
        return tuple(known[name].as_action(self.scales.get(name)) for name in self.actions)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of an observation: (height, width, 3) of frames, (size,) of numbers or a record.

        See `ncp_control.records`.
        """
        return array_of(self.observation)[0]

    @property
    def source(self) -> dict[str, Any]:
        """Description of the recording, for the `source` of a `DemonstrationWriter`."""
        return {
            "format": self.format,
            "driver": self.driver,
            "recording": self.folder.name,
            "num_frames": len(self),
            "num_episodes": len(self.episodes),
            "cameras": sorted({episode.camera for episode in self.episodes}),
            "frame_s": self.frame_s,
            "actions": list(self.actions),
            "inputs": list(self.inputs),
            "image_size": None if self.framing is None else list(self.framing.image_size),
            "crop": None if self.framing is None else list(self.framing.crop),
            "num_listed": self.num_listed,
            "num_skipped": self.num_skipped,
            "skipped": dict(self.skipped),
            "changed": dict(self.changed),
        }

    def center_only(self) -> "Recording":
        """Return the recording without its side cameras, whose steering is artificial."""
        kept = tuple(episode for episode in self.episodes if episode.camera == CENTER)
        return replace(self, episodes=kept)

    def choose(self, actions: Sequence[str] = (), inputs: Sequence[str] = ()) -> "Recording":
        """Choose actions and inputs. Frames that lack one of these numbers are left out.

        Args:
            actions: Names of quantities, or the first part of several names. If empty: the actions
                of the recording, i.e. steering where there is one.
            inputs: Names as above. If empty: none beside frames; in a recording of numbers alone,
                all but the chosen actions and the other actions of the recording.

        Raises:
            ValueError: If there is no such quantity, one is chosen as both, or no frame is left.
        """
        names = [one.name for one in self.quantities]
        learned = find_names("actions", actions, names) if actions else self.actions
        if not learned:
            like = next((name for name in names if _LIKE_STEERING.match(name)), None)
            hint = f" Did you mean steering by {like!r}? Then name that column steering."
            raise ValueError(
                f"`actions` must be named for '{self.folder}', which has no steering, got none. It"
                f" has {', '.join(names) or 'no numbers'}. Choose with --actions."
                f"{hint if like and self.format == 'table' else ''}"
            )
        sensed = find_names("inputs", inputs, names) if inputs else self.default_inputs(learned)
        both = [name for name in sensed if name in learned]
        if both or (self.framing is None and not sensed):
            rule = "must not be actions too" if both else "must be at least one number"
            raise ValueError(
                f"`inputs` {rule}, got {', '.join(both) or 'none'} for '{self.folder}'. It has"
                f" {', '.join(names)}: choose others."
            )
        chosen = replace(self, actions=learned, inputs=sensed)
        if (learned, sensed) != (self.actions, self.inputs):
            chosen = replace(chosen, contract=None)
        return chosen._whole((*learned, *sensed))

    def default_inputs(self, actions: Sequence[str]) -> tuple[str, ...]:
        """Return the default inputs for these actions."""
        if self.contract is not None and tuple(actions) == self.actions:
            return self.inputs
        if self.framing is not None:
            return ()
        # Commands to other motors at the same moment are unknown when the policy acts.
        commands = {*actions, *self.actions}
        return tuple(one.name for one in self.quantities if one.name not in commands)

    def _whole(self, names: Sequence[str]) -> "Recording":
        """Return the recording without frames that lack one of the named quantities."""
        skipped, episodes = dict(self.skipped), []
        for episode in self.episodes:
            is_kept = np.ones(len(episode), bool)
            for name in names:
                is_missing = is_kept & ~np.isfinite(episode.numbers[name])
                if is_missing.any():
                    reason = f"no {name}"
                    skipped[reason] = skipped.get(reason, 0) + int(is_missing.sum())
                    is_kept &= ~is_missing
            if is_kept.all():
                episodes.append(episode)
            elif is_kept.any():
                episodes += episode.select(is_kept).cut(self.cuts)
        if not any(episode.camera == CENTER for episode in episodes):
            raise ValueError(
                f"`actions` and `inputs` must be numbers that some frame has all of, got"
                f" {', '.join(names)} for '{self.folder}'. Choose others."
            )
        return replace(self, episodes=tuple(episodes), skipped=skipped)

    def chosen_for(self, contract: Contract | None) -> "Recording":
        """Return the recording with the inputs and actions of a policy, scaled as for the policy.

        Args:
            contract: Contract of the policy; None for a policy without one.

        Raises:
            ValueError: If the recording lacks one of the numbers, or has it with another unit or
                sign.
        """
        if contract is None:
            return self.choose()
        scales = {one.name: one.scale for one in contract.action if one.scale is not None}
        if self.contract is not None:
            self._check_actions(self.contract, contract)
            return replace(self.choose(), scales=scales)
        if frames_part(contract.observation) is None:
            self = replace(self, framing=None)
        elif self.framing is None:
            raise ValueError(
                f"`log` must hold frames for a policy that sees, got numbers alone in"
                f" '{self.folder}'. Choose another recording."
            )
        self._check_meaning(contract)
        entries = [entry.name for entry in entries_of(contract.observation)]
        wanted = [entry.name for entry in contract.action]
        chosen = self.choose(wanted, [name.removeprefix("numbers: ") for name in entries])
        return replace(chosen, scales=scales)

    def _check_meaning(self, contract: Contract) -> None:
        """Check that the recording has all numbers of a policy's contract, with unit and sign.

        Raises:
            ValueError: If a number is missing, or has another unit or sign.
        """
        known = {one.name: one for one in self.quantities}
        sensed = {
            one.name.removeprefix("numbers: "): one for one in entries_of(contract.observation)
        }
        for name, one in {**sensed, **{one.name: one for one in contract.action}}.items():
            if name not in known:
                raise ValueError(
                    f"`log` must hold {name}, which the policy"
                    f" {'senses' if name in sensed else 'commands'}, got {', '.join(known)} in"
                    f" '{self.folder}'. Give that column the policy's name."
                )
            recorded, unit = known[name], one.unit
            is_other, hint = bool(unit) and recorded.unit not in ("", unit), ""
            if isinstance(one, ActionContract) and one.scale is None:
                # Fractions of different things are compared, degrees and fractions are not.
                is_other = recorded.is_scaled and (is_other or self._largest(name) > 1.0)
                unit = unit or "[-1, 1]"
                hint = ", or with data.py convert --max-steer-deg" if name == STEERING else ""
            if is_other:
                raise ValueError(
                    f"`log` must hold {name} in the unit of the policy, {unit}, got"
                    f" {recorded.unit or 'numbers beyond [-1, 1]'} in '{self.folder}'. Bring it to"
                    f" that unit in the reader, or in frames.csv{hint}."
                )
            wanted = one.positive if isinstance(one, ActionContract) else ""
            if wanted and recorded.positive not in ("", wanted):
                raise ValueError(
                    f"`log` must hold {name} positive to the {wanted}, as the policy has it, got it"
                    f" positive to the {recorded.positive} in '{self.folder}'. Choose a recording"
                    " and a policy of one sign."
                )

    def _largest(self, name: str) -> float:
        """Return the largest finite absolute value of a quantity; 0 if there is none."""
        values = [episode.numbers[name] for episode in self.episodes if name in episode.numbers]
        sizes = np.abs(np.concatenate(values)) if values else np.zeros(0)
        return float(sizes[np.isfinite(sizes)].max(initial=0.0))

    def _check_actions(self, own: Contract, contract: Contract) -> None:
        """Check that the actions of a policy have the units and signs of the recorded contract.

        Raises:
            ValueError: If one has another unit or sign.
        """
        if len(own.action) != len(contract.action):
            return  # reported later, where the actions are compared
        for own_entry, one in zip(own.action, contract.action, strict=True):
            for name in ("unit", "positive"):
                recorded, wanted = getattr(own_entry, name), getattr(one, name)
                if recorded and wanted and recorded != wanted:
                    what = "in the unit" if name == "unit" else "positive to the"
                    raise ValueError(
                        f"`log` must hold {one.name} {what} {wanted}, as the policy has it, got"
                        f" {recorded} in '{self.folder}'. Choose a recording of that policy's kind."
                    )

    def split(self, fraction: float) -> tuple["Recording", "Recording"]:
        """Split once, in time: the first part for training, the rest for testing.

        All cameras are cut at the same row of the log, so no moment of the first part appears in
        the second part, not even in a side camera. The second part has only the center camera.

        Args:
            fraction: Share of the center camera's frames in the first part, in (0, 1).

        Returns:
            The first part, with all cameras, and the rest, with the center camera.

        Raises:
            ValueError: If one of the parts would have no frame.
        """
        rows = np.concatenate([episode.rows for episode in self.center_only().episodes])
        cut = round(fraction * len(rows)) if 0.0 < fraction < 1.0 else 0
        if not 0 < cut < len(rows):
            raise ValueError(
                f"a recording must have frames for a part of {fraction:.4g} and for the rest, got"
                f" {len(rows)} frames in '{self.folder}'. Record more, or choose other shares."
            )
        first_late_row = np.sort(rows)[cut]
        early = [episode.select(episode.rows < first_late_row) for episode in self.episodes]
        late = [episode.select(episode.rows >= first_late_row) for episode in self.episodes]
        first = replace(self, episodes=tuple(episode for episode in early if len(episode)))
        rest = replace(self, episodes=tuple(episode for episode in late if len(episode)))
        return first, rest.center_only()

    @property
    def actions_before(self) -> list[list[float] | None]:
        """Scaled actions in the frame before each episode; None where there is no such frame.

        A part of a recording may begin in the middle of a drive.
        """
        found = []
        for episode in self.episodes:
            numbers = np.array([[episode.before.get(name, np.nan)] for name in self.actions])
            actions = [
                scaled(one, name, self.scales)
                for one, name in zip(numbers, self.actions, strict=True)
            ]
            found.append(np.concatenate(actions).tolist() if np.isfinite(numbers).all() else None)
        return found

    @contextmanager
    def as_demonstrations(self) -> Iterator[Demonstrations]:
        """Yield the recording as demonstrations in a temporary folder, deleted after the block."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "frames"
            with self.open_store(folder) as writer:
                writer.describe(actions_before=self.actions_before)
                self.write(writer)
            yield Demonstrations.open(folder)

    def open_store(self, folder: Path) -> DemonstrationWriter:
        """Return the writer of a new store for the recording."""
        shape, kind = array_of(self.observation)
        return DemonstrationWriter(folder, shape, kind, len(self.actions), source=self.source)

    def write(self, writer: DemonstrationWriter) -> None:
        """Read, crop and resize the images, and append all episodes to a writer.

        Args:
            writer: A writer of `observation_shape`, with one entry for each action.

        Raises:
            ValueError: If an image has become unreadable since the recording was loaded.
        """
        hidden = True if len(self) < FRAMES_WITH_PROGRESS else None
        with tqdm(total=len(self), desc="reading frames", disable=hidden) as progress:
            for episode in self.episodes:
                writer.start_episode()
                numbers = episode.numbers
                actions = [scaled(numbers[name], name, self.scales) for name in self.actions]
                inputs = [numbers[name] for name in self.inputs]
                columns = np.stack(actions, axis=1), episode.dt_s(self.frame_s)
                if self.framing is None:
                    writer.extend(np.stack(inputs, axis=1), *columns)
                    progress.update(len(episode))
                    continue
                for i, (action, dt_s) in enumerate(zip(*columns, strict=True)):
                    observation = self.framing.apply(_read(episode.image_paths[i]))
                    if inputs:
                        observation = join(observation, np.array([values[i] for values in inputs]))
                    writer.append(observation, action, float(dt_s))
                    progress.update()


def fit_scales(parts: Sequence[Recording]) -> dict[str, tuple[float, float]]:
    """Return offset and factor of the actions that must be scaled, fitted to all training parts.

    A first recording with a contract, as of a drive by `run.py`, keeps the scales of its own.
    """
    if parts[0].contract is not None:
        return dict(parts[0].scales)
    known = {one.name: one for one in parts[0].quantities}
    episodes = [episode for part in parts for episode in part.episodes]
    scales = {}
    for name in parts[0].actions:
        if known[name].is_scaled:
            values = np.concatenate([episode.numbers[name] for episode in episodes])
            scales[name] = fit_scale(values[np.isfinite(values)], known[name])
    return scales


def _read(path: ImageFile) -> np.ndarray:
    """Read an image; ValueError if it has become unreadable since the recording was loaded."""
    image = read_image(path)
    if image is None:
        raise ValueError(
            f"`image` must stay readable while a recording is written, got '{path}'."
            " Load the recording again."
        )
    return image
