"""The CfC paper's own Walker2d rollouts, with its split.

The file holds 400 arrays (frames, 17) by name, `rollout_000` to `rollout_399`. The names are
shuffled; the first 60 are for testing, the next 40 for validation, the other 300 for training.

Source: the code and data published with Hasani et al. 2022 (raminmh/CfC, folder data/walker of
commit 59f6e01).
"""

import io
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ncp_control.learning.sequences import MAX_NUMBERS

FILE = "walker2d_float32.npz"
WIDTH = 17
_DAMAGE = (zlib.error, NotImplementedError, RuntimeError, KeyError, TypeError, SyntaxError)
"""Further exceptions of zipfile and of NumPy's header reader for damaged files."""
SHARES = {"test": 0.15, "validation": 0.1}
SPLIT_SEED, DROP_SEED = 125487, 891374
"""Seeds in the published code, for the order of the rollouts and for the dropped frames."""


def find_rollouts(path: Path) -> Path | None:
    """Return the file of the rollouts if `path` is this file or its folder, else None."""
    path = path / FILE if path.is_dir() else path
    return path if path.is_file() and path.name == FILE else None


def read_rollouts(path: Path) -> dict[str, np.ndarray]:
    """Read all rollouts, in the order of their names.

    Raises:
        ValueError: If the file is damaged, or an array is not of shape (frames, 17), not of real
            numbers, or not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            rollouts = {
                name.removesuffix(".npy"): _read_array(archive, name)
                for name in sorted(archive.namelist())
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, *_DAMAGE) as error:
        raise ValueError(
            f"`data` must hold a readable {FILE}, got a damaged one: {error}. Copy it again."
        ) from error
    if not rollouts:
        raise ValueError(f"`data` must hold rollouts in {FILE}, got none. Copy it again.")
    for name, frames in rollouts.items():
        if frames.ndim != 2 or frames.shape[1] != WIDTH or frames.dtype.kind != "f":
            raise ValueError(
                f"`data` must hold rollouts of shape (frames, {WIDTH}), got {frames.dtype} of shape"
                f" {frames.shape} in {name}. Copy {FILE} again."
            )
        if not np.isfinite(frames).all():
            raise ValueError(
                f"`data` must hold finite numbers, got NaN or infinity in {name}. Copy {FILE}"
                " again."
            )
    return {name: frames.astype(np.float32) for name, frames in rollouts.items()}


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read one array; raise if its header claims another size than the archive holds."""
    with archive.open(name) as file:
        content = io.BytesIO(file.read(4 * MAX_NUMBERS + 1))
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        raise ValueError(f"{name} has version {version} of NumPy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    num_bytes = math.prod(shape) * dtype.itemsize
    held = len(content.getbuffer()) - content.tell()
    if dtype.hasobject or num_bytes != held:
        raise ValueError(f"{name} has {held} bytes for {dtype} of shape {shape}")
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)


def split_rollouts(names: list[str]) -> dict[str, list[str]]:
    """Return the names of each part, in the order in which the paper drops frames."""
    order = sorted(names)
    np.random.RandomState(SPLIT_SEED).shuffle(order)
    num_test = int(SHARES["test"] * len(order))
    end = int(sum(SHARES.values()) * len(order))
    return {
        "training": order[end:],
        "validation": order[num_test:end],
        "test": order[:num_test],
    }


def drop_generator() -> np.random.RandomState:
    """Return the generator for dropping frames, seeded as in the published code."""
    return np.random.RandomState(DROP_SEED)
