"""Excerpts: a few seconds of an episode, small enough to be shipped with a policy.

An excerpt is a safetensors file with observations and their times, but without actions: a policy
computes its own actions for it. Camera frames and pictures of a robot are stored as WebP images, so
they differ slightly from the original ones.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ncp_control import files
from ncp_control.audit.inspector import TrackMap
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from ncp_control.records import join
from ncp_control.replay import show

_QUALITY, _PICTURE_HEIGHT_PX = 85, 160
_SIGNAL = "signal: "


@dataclass(frozen=True, kw_only=True, eq=False)
class Excerpt:
    """Observations of a part of an episode, one row per frame."""

    dt_s: np.ndarray
    """Time since the previous observation [s], shape (time,)."""
    observations: np.ndarray
    """Colour frames (time, height, width, 3), numbers (time, numbers), or records of both
    (time, bytes), see `ncp_control.records`."""
    where: str = ""
    """Name of the world, for headings."""
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Signals of the world, by name and unit, each of shape (time,)."""
    pictures: np.ndarray | None = None
    """Pictures of the scene if observations are numbers, shape (time, height, width, 3)."""
    track: TrackMap | None = None
    """Map of the track, if there is one."""


def write_excerpt(path: Path | str, episode: Episode, track: TrackMap | None = None) -> Path:
    """Write the observations of an episode to an excerpt file.

    `ncp_control.replay.show` makes an episode of a policy, observations and times.

    Args:
        path: The file; written atomically. `ncp audit` and `ncp demo` look for
            excerpt.safetensors in the folder of the policy.
        episode: The episode, with its observations: colour frames, numbers, or records of both.
        track: Map of the track, if there is one.

    Raises:
        ValueError: If the episode has no observations.

    Example:
        >>> write_excerpt("my_policy/excerpt.safetensors", show(policy, observations, dt_s))
    """
    tensors = {"dt_s": np.asarray(episode.dt_s, np.float64)}
    if episode.has_frames:
        tensors |= _as_images("frames", episode.frames, height_px=episode.frames.shape[1])
    elif episode.pictures is not None:
        tensors |= _as_images("pictures", episode.pictures, height_px=_PICTURE_HEIGHT_PX)
    if not episode.has_frames or episode.record_frame is not None:
        tensors["numbers"] = episode.numbers
    for name, values in episode.signals.items():
        if name not in episode.action_names:
            tensors[_SIGNAL + name] = np.asarray(values, np.float64)
    if track is not None:
        tensors |= {f"track.{name}": np.asarray(of) for name, of in vars(track).items()}
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    files.write_file(path, save(tensors, metadata={"where": episode.where}))
    return Path(path)


def read_excerpt(path: Path | str) -> Excerpt:
    """Read a file written by `write_excerpt`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the file is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"`path` must be an excerpt, got {str(path)!r}: no such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            where = (file.metadata() or {}).get("where", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        numbers = tensors.get("numbers")
        if numbers is None or "frames.ends" in tensors:
            frames = _from_images("frames", tensors)
            observations = frames if numbers is None else join(frames, numbers)
        else:
            observations = numbers
        pictures = _from_images("pictures", tensors) if "pictures.ends" in tensors else None
        edges = {name[6:]: of for name, of in tensors.items() if name.startswith("track.")}
        signals = {
            name.removeprefix(_SIGNAL): values
            for name, values in tensors.items()
            if name.startswith(_SIGNAL)
        }
        excerpt = Excerpt(
            dt_s=tensors["dt_s"],
            observations=observations,
            where=where,
            signals=signals,
            pictures=pictures,
            track=TrackMap(**edges) if edges else None,
        )
    except (SafetensorError, KeyError, IndexError, TypeError, OSError, ValueError) as error:
        raise ValueError(
            f"`path` must be an excerpt, got {str(path)!r}, which is damaged: {error}."
        ) from error
    if not len(excerpt.dt_s) == len(observations) > 0:
        raise ValueError(
            f"`path` must be an excerpt, got {str(path)!r}, of {len(observations)} observations and"
            f" {len(excerpt.dt_s)} times."
        )
    return excerpt


def act_on(policy: Policy, excerpt: Excerpt, *, name: str = "") -> Episode:
    """Run a policy on the observations of an excerpt (open loop) and record its activity.

    Args:
        policy: The policy.
        excerpt: The excerpt.
        name: Name of the policy, for headings.

    Raises:
        ValueError: If the policy does not take such observations.
    """
    fields = {"name": name, "where": excerpt.where, "pictures": excerpt.pictures}
    episode = show(policy, excerpt.observations, excerpt.dt_s, **fields)
    return replace(episode, signals={**excerpt.signals, **episode.signals})


def _as_images(name: str, images: np.ndarray, *, height_px: int) -> dict[str, np.ndarray]:
    """Return pictures as concatenated WebP images; equal successive pictures are stored once."""
    is_new = np.ones(len(images), bool)
    is_new[1:] = [bool((after != before).any()) for before, after in pairwise(images)]
    contents = [_encode(image, height_px) for image in images[is_new]]
    joined = np.frombuffer(b"".join(contents), np.uint8)
    ends = np.cumsum([len(content) for content in contents])
    return {name: joined, f"{name}.ends": ends, f"{name}.which": np.cumsum(is_new) - 1}


def _encode(pixels: np.ndarray, height_px: int) -> bytes:
    image = Image.fromarray(pixels)
    if image.height > height_px:
        width = round(image.width * height_px / image.height)
        image = image.resize((width, height_px), Image.Resampling.BOX)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=_QUALITY, method=6)
    return content.getvalue()


def _from_images(name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    ends = tensors[f"{name}.ends"]
    parts = np.split(tensors[name], ends[:-1])
    decoded = [np.asarray(Image.open(io.BytesIO(part.tobytes())).convert("RGB")) for part in parts]
    return np.stack(decoded)[tensors[f"{name}.which"]]
