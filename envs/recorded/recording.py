"""What every format of recorded driving becomes: episodes of images with steering and true time."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from envs.recorded.images import Framing, ImageFile, read_image
from ncp_control.contract import Contract
from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.steering import LARGEST_ANGLE

CENTER = "center"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """Frames of one camera, without a gap: an episode of the demonstrations they become."""

    camera: str
    """`center`, `left` or `right`."""
    rows: np.ndarray
    """Positions in the log, shape (N,), int64, increasing."""
    image_paths: tuple[ImageFile, ...]
    """One image a frame."""
    steering: np.ndarray
    """Fraction of the maximum steering angle in [-1, 1], left positive, shape (N,), float32."""
    time_s: np.ndarray
    """Time stamps [s], shape (N,), float64, increasing."""

    def __len__(self) -> int:
        return len(self.rows)

    def dt_s(self, frame_s: float) -> np.ndarray:
        """Return the time since the previous frame [s], float32; `frame_s` for the first."""
        return np.diff(self.time_s, prepend=self.time_s[0] - frame_s).astype(np.float32)

    def select(self, is_kept: np.ndarray) -> "Stretch":
        """Return the episode of the frames where `is_kept`, shape (N,), is True."""
        return replace(
            self,
            rows=self.rows[is_kept],
            image_paths=tuple(p for p, k in zip(self.image_paths, is_kept, strict=True) if k),
            steering=self.steering[is_kept],
            time_s=self.time_s[is_kept],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """Recorded driving, ready to be written as demonstrations; images stay on disk until then."""

    folder: Path
    """Where it was loaded from."""
    format: str
    """Name of its reader, e.g. `udacity`."""
    episodes: tuple[Stretch, ...]
    """Episodes of every camera, in the order in which they begin."""
    framing: Framing
    """How an image becomes an observation."""
    frame_s: float
    """Nominal frame interval [s]: the median of the center camera."""
    num_listed: int
    """Images the log lists; a line or record that cannot be read counts as one."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many of those could not be used, by reason."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """How many were used with a change, such as a clipped steering, by the kind of change."""
    contract: Contract | None = None
    """What was seen and done, where the recording says it."""
    steering_unit: str = LARGEST_ANGLE
    """Unit of the steering, for a contract."""
    driver: str = "human"
    """Who drove, for reports."""

    def __len__(self) -> int:
        return sum(len(episode) for episode in self.episodes)

    @property
    def num_skipped(self) -> int:
        """Images, lines and records that could not be used, all reasons together."""
        return sum(self.skipped.values())

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """Shape of an observation: height, width, RGB."""
        return (*self.framing.image_size, 3)

    @property
    def source(self) -> dict[str, Any]:
        """Where the frames come from, for the `source` of a `DemonstrationWriter`."""
        return {
            "format": self.format,
            "driver": self.driver,
            "recording": self.folder.name,
            "num_frames": len(self),
            "num_episodes": len(self.episodes),
            "cameras": sorted({episode.camera for episode in self.episodes}),
            "frame_s": self.frame_s,
            "image_size": list(self.framing.image_size),
            "crop": list(self.framing.crop),
            "num_listed": self.num_listed,
            "num_skipped": self.num_skipped,
            "skipped": dict(self.skipped),
            "changed": dict(self.changed),
        }

    def center_only(self) -> "Recording":
        """Return the recording without its side cameras, whose steering nobody steered."""
        kept = tuple(episode for episode in self.episodes if episode.camera == CENTER)
        return replace(self, episodes=kept)

    def split(self, fraction: float) -> tuple["Recording", "Recording"]:
        """Cut once, in time: the first part to learn from, the rest to be tested on.

        Every camera is cut at the same row of the log, so nothing seen in the first part is seen
        again in the second, not even from the side. The second part has the center camera alone.

        Args:
            fraction: Share of the center camera's frames in the first part, in (0, 1).

        Returns:
            The first part, with all cameras, and the rest, with the center camera.

        Raises:
            ValueError: If `fraction` leaves one part without a frame.
        """
        rows = np.concatenate([episode.rows for episode in self.center_only().episodes])
        cut = round(fraction * len(rows)) if 0.0 < fraction < 1.0 else 0
        if not 0 < cut < len(rows):
            raise ValueError(
                f"`fraction` must leave a frame of the {len(rows)} on either side, got"
                f" {fraction!r}. Choose a value between 0 and 1, such as 0.8."
            )
        first_late_row = np.sort(rows)[cut]
        early = [episode.select(episode.rows < first_late_row) for episode in self.episodes]
        late = [episode.select(episode.rows >= first_late_row) for episode in self.episodes]
        first = replace(self, episodes=tuple(episode for episode in early if len(episode)))
        rest = replace(self, episodes=tuple(episode for episode in late if len(episode)))
        return first, rest.center_only()

    def smoothed(self, width_s: float) -> "Recording":
        """Return the recording with its steering averaged over time by a Gaussian.

        Drivers on a keyboard tap: their steering is zero most of the time and far too much in
        between. What they mean is the average, and that is what can be learned.

        Args:
            width_s: Standard deviation of the Gaussian [s], >= 0; taken in frames of `frame_s`.

        Raises:
            ValueError: If `width_s` is negative or not finite.
        """
        if not (np.isfinite(width_s) and width_s >= 0.0):
            raise ValueError(
                f"`width_s` must be finite and >= 0, got {width_s!r}. Use 0 for no smoothing."
            )
        if width_s == 0.0:
            return self
        width_frames = width_s / self.frame_s
        episodes = [
            replace(episode, steering=gaussian_filter1d(episode.steering, width_frames))
            for episode in self.episodes
        ]
        return replace(self, episodes=tuple(episodes))

    @contextmanager
    def as_demonstrations(self) -> Iterator[Demonstrations]:
        """Yield the recording as demonstrations, which are on the disk until the block ends."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "frames"
            with DemonstrationWriter(
                folder, self.observation_shape, np.uint8, 1, source=self.source
            ) as writer:
                self.write(writer)
            yield Demonstrations.open(folder)

    def write(self, writer: DemonstrationWriter) -> None:
        """Append every episode to a writer, reading, cropping and resizing the images.

        Args:
            writer: A writer of `observation_shape`, uint8 and one action, the steering.

        Raises:
            ValueError: If an image has become unreadable since the recording was loaded.
        """
        for episode in self.episodes:
            writer.start_episode()
            for path, steering, dt_s in zip(
                episode.image_paths, episode.steering, episode.dt_s(self.frame_s), strict=True
            ):
                image = read_image(path)
                if image is None:
                    raise ValueError(
                        f"`image` must stay readable while a recording is written, got '{path}'."
                        " Load the recording again."
                    )
                writer.append(self.framing.apply(image), [steering], float(dt_s))
