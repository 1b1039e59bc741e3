"""Datasets of sequence models: recorded traces, cut into windows."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncp_control.ranges import check_count

MAX_NUMBERS = 2**27
"""Maximum total number of values in the traces of a folder: 512 MiB in float32."""
_POOL = 16
"""Number of batches within which sequences are sorted by length."""


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences of equal length: inputs and targets for each frame.

    Raises:
        ValueError: If the shapes do not fit together.
    """

    inputs: Float[Tensor, "samples time input"]
    """Input vector of each frame."""
    targets: Float[Tensor, "samples time output"]
    """Desired output after each frame."""
    dt_s: Float[Tensor, "samples time"] | None = None
    """Time elapsed before each frame [s]; if None: the model's frame interval."""
    mask: Bool[Tensor, "samples time"] | None = None
    """True for frames that count in loss and error; if None: all frames."""

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if values is not None and not isinstance(values, Tensor):
                raise ValueError(
                    f"`{name}` must be a tensor, got {type(values).__name__!r}."
                    " Convert an array with torch.from_numpy."
                )
        samples, time = (*self.inputs.shape, 0, 0)[:2]
        wanted = {
            "inputs": (self.inputs, "(samples, time, input)", 3),
            "targets": (self.targets, f"({samples}, {time}, output)", 3),
            "dt_s": (self.dt_s, f"({samples}, {time})", 2),
            "mask": (self.mask, f"({samples}, {time})", 2),
        }
        for name, (values, shape, ndim) in wanted.items():
            if values is not None and (values.ndim != ndim or values.shape[:2] != (samples, time)):
                raise ValueError(
                    f"`{name}` must have shape {shape}, got {tuple(values.shape)}."
                    " Give every sample and frame its own."
                )
        if self.mask is not None and self.mask.dtype != torch.bool:
            raise ValueError(
                f"`mask` must be bool, got {self.mask.dtype}. Mark the frames that count."
            )

    def check_finite(self, name: str) -> None:
        """Raise ValueError for non-finite inputs, or non-finite targets at frames that count.

        Elapsed times that are negative or not finite raise it too, since a circuit on an
        accelerator does not check them. Inputs of masked frames are checked as well: their gradient
        is zero, but zero times NaN is NaN.
        """
        counts = True if self.mask is None else self.mask
        for part, is_used in (("inputs", True), ("targets", counts)):
            is_bad = ~torch.isfinite(getattr(self, part)).all(dim=2) & is_used
            if is_bad.any():
                sample, frame = is_bad.nonzero()[0].tolist()
                raise ValueError(
                    f"`{name}` must be finite, got NaN or infinity in the {part} of sample {sample}"
                    f" at frame {frame}. Repair the data, or leave that sample out."
                )
        if self.dt_s is not None:
            is_bad = ~(torch.isfinite(self.dt_s) & (self.dt_s >= 0))
            if is_bad.any():
                raise ValueError(
                    f"`{name}` must have finite times >= 0 in seconds, got"
                    f" {self.dt_s[is_bad][0].item()!r}. Check the order of the time stamps."
                )

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, samples: Tensor | slice) -> "Sequences":
        """Return the selected sequences."""
        return self._each(lambda values: values[samples])

    def to(self, device: torch.device) -> "Sequences":
        """Return the sequences on a device."""
        return self._each(lambda values: values.to(device))

    def _cut(self, num_frames: int) -> "Sequences":
        """Return the first `num_frames` frames of all sequences."""
        return self._each(lambda values: values[:, :num_frames])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Sequences":
        """Return sequences of which each tensor is changed by a function."""
        parts: dict[str, Any] = {k: v if v is None else change(v) for k, v in vars(self).items()}
        return Sequences(**parts)

    def batches(self, batch_size: int) -> Iterator["Sequences"]:
        """Yield all sequences in order, `batch_size` at a time."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    def shuffled_batches(
        self, batch_size: int, generator: torch.Generator
    ) -> Iterator["Sequences"]:
        """Yield full batches in random order; the remaining sequences are skipped in this epoch.

        With a mask, a batch holds sequences of similar length and is cut after its last frame that
        counts, since later frames do not affect the loss.
        """
        order = torch.randperm(len(self), generator=generator)
        size = min(batch_size, len(self))
        batches = order[: len(order) // size * size].view(-1, size)
        if self.mask is None:
            yield from (self[batch] for batch in batches)
            return
        num_frames = self._num_frames()
        for pool in batches.split(_POOL):
            alike = pool.flatten()[num_frames[pool.flatten()].argsort()].view_as(pool)
            for batch in alike[torch.randperm(len(alike), generator=generator)]:
                yield self[batch]._cut(int(num_frames[batch].max()))

    def _num_frames(self) -> Tensor:
        """Return the number of frames up to the last that counts, shape (samples,), on the CPU."""
        assert self.mask is not None
        return (self.mask.shape[1] - self.mask.flip(1).int().argmax(dim=1)).cpu()


def load_traces(folder: Path | str) -> list[np.ndarray]:
    """Load all .npy files of a folder, in order of their names.

    Returns:
        One array (frames, dimensions) per file, float32.

    Raises:
        FileNotFoundError: If the folder is missing or holds no .npy file.
        ValueError: If a file is damaged, is not such an array, holds NaN or infinity, or has
            another number of dimensions, or if the files hold more than `MAX_NUMBERS` values. Sizes
            are checked before memory is allocated.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        lack = "has none" if folder.is_dir() else "is no folder"
        raise FileNotFoundError(
            f"`folder` must hold .npy files, got {str(folder)!r}, which {lack}."
            " Name the folder of the traces."
        )
    mapped = [_map_trace(path) for path in paths]
    num_numbers = sum(trace.size for trace in mapped)
    if num_numbers > MAX_NUMBERS:
        raise ValueError(
            f"`folder` must hold at most {MAX_NUMBERS} numbers in its .npy files, got"
            f" {num_numbers} in {str(folder)!r}. Keep fewer or shorter traces there."
        )
    traces = [_read_trace(path, trace) for path, trace in zip(paths, mapped, strict=True)]
    for path, trace in zip(paths, traces, strict=True):
        if trace.shape[1] != traces[0].shape[1]:
            raise ValueError(
                f"traces must have equally many dimensions, got {trace.shape[1]} in {path.name}"
                f" and {traces[0].shape[1]} in {paths[0].name}. Keep one kind in a folder."
            )
    return traces


def fingerprint(traces: Sequence[np.ndarray]) -> str:
    """Return a hash of traces, eight hexadecimal digits."""
    digest = hashlib.blake2s(digest_size=4)
    for trace in traces:
        digest.update(repr((trace.shape, trace.dtype.str)).encode())
        digest.update(np.ascontiguousarray(trace).tobytes())
    return digest.hexdigest()


def _map_trace(path: Path) -> np.ndarray:
    """Memory-map the array of a file; only the header is read."""
    if not path.is_file():
        raise ValueError(f"{path.name} must be a file, got something else. Remove it.")
    try:
        trace = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises many kinds of errors for damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path.name} must be an array saved by NumPy, got a damaged or other file: {reason}."
            " Copy it again, or save one trace a file with numpy.save."
        ) from error
    if trace.dtype.kind not in "fiu" or trace.ndim != 2 or trace.size == 0:
        raise ValueError(
            f"{path.name} must hold real numbers of shape (frames, dimensions), one or more each,"
            f" got {trace.dtype} of shape {trace.shape}. Save one trace a file."
        )
    num_bytes = trace.offset + trace.nbytes
    if path.stat().st_size != num_bytes:
        raise ValueError(
            f"{path.name} must have the {num_bytes} bytes that its header stands for, got"
            f" {path.stat().st_size}. Copy it again, or save one trace a file with numpy.save."
        )
    return trace


def _read_trace(path: Path, mapped: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        trace = np.array(mapped, dtype=np.float32, order="C")
    is_finite = np.isfinite(trace).all(axis=1)
    if not is_finite.all():
        raise ValueError(
            f"{path.name} must hold finite numbers, got {trace[~is_finite][0].tolist()!r} in frame"
            f" {int(np.flatnonzero(~is_finite)[0])}. Remove or repair the frame."
        )
    return trace


def forecasting_windows(
    traces: Sequence[np.ndarray],
    window: int,
    stride: int,
    *,
    times_s: Sequence[np.ndarray] | None = None,
) -> Sequences:
    """Cut traces into windows in which the target of each frame is the next frame.

    Windows start at 0, stride, 2·stride, … below the trace's length − window − 1, as in the
    published code; the last frame of a trace is therefore never a target.

    Args:
        traces: Arrays (frames, dimensions).
        window: Number of frames per window, >= 1.
        stride: Number of frames between the starts of successive windows, >= 1.
        times_s: Time stamp of each frame [s], increasing; if None: evenly spaced. The first frame
            of a trace gets the same elapsed time as the second.

    Raises:
        ValueError: If a trace is too short for a window, or time stamps do not increase.

    Source: cutting: the code published with Hasani et al. 2021 (arXiv 2006.04439).
    """
    check_count("window", window)
    check_count("stride", stride)
    if len(traces) == 0:
        raise ValueError("`traces` must be at least one, got 0 traces. Give some.")
    if times_s is not None and len(times_s) != len(traces):
        raise ValueError(
            f"`times_s` must be one array a trace, got {len(times_s)} for {len(traces)} traces."
            " Give both from the same recording."
        )
    for i, trace in enumerate(traces):
        if np.ndim(trace) != 2:
            raise ValueError(
                f"`traces` must be arrays (frames, dimensions), got shape {np.shape(trace)} for"
                f" trace {i}. Give a list of them."
            )
    if len({trace.shape[1] for trace in traces}) > 1:
        raise ValueError(
            f"`traces` must have equally many dimensions, got {[t.shape[1] for t in traces]}."
            " Keep one kind."
        )
    inputs, targets, elapsed = [], [], []
    for i, trace in enumerate(traces):
        starts = range(0, len(trace) - window - 1, stride)
        if not starts:
            raise ValueError(
                f"trace {i} must have at least {window + 2} frames, got {len(trace)}."
                " Shorten the window or drop the trace."
            )
        inputs += [trace[start : start + window] for start in starts]
        targets += [trace[start + 1 : start + window + 1] for start in starts]
        if times_s is not None:
            dt_s = _elapsed(times_s[i], len(trace), i)
            elapsed += [dt_s[start : start + window] for start in starts]
    return Sequences(
        inputs=torch.from_numpy(np.stack(inputs)),
        targets=torch.from_numpy(np.stack(targets)),
        dt_s=torch.from_numpy(np.stack(elapsed)) if elapsed else None,
    )


def _elapsed(times_s: np.ndarray, num_frames: int, trace: int) -> np.ndarray:
    """Return the elapsed time before each frame [s]; ValueError if stamps do not increase."""
    if np.shape(times_s) != (num_frames,) or not np.issubdtype(
        np.asarray(times_s).dtype, np.number
    ):
        raise ValueError(
            f"`times_s` of trace {trace} must be one stamp a frame [s], shape ({num_frames},), got"
            f" {np.asarray(times_s).dtype} of shape {np.shape(times_s)}. Give both from the same"
            " recording."
        )
    dt_s = np.diff(times_s, prepend=2.0 * times_s[0] - times_s[1])
    increases = np.isfinite(dt_s) & (dt_s > 0)
    if not increases.all():
        frame = int(np.flatnonzero(~increases)[-1])
        raise ValueError(
            f"`times_s` of trace {trace} must increase, got {float(times_s[frame])!r} after"
            f" {float(times_s[frame - 1])!r} at frame {frame}. Sort the frames by time."
        )
    return dt_s.astype(np.float32)
