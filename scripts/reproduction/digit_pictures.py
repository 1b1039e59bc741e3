"""Pictures of handwritten digits: MNIST's files, and the small ones of scikit-learn."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.reproduction.data_files import find_files

NUM_CLASSES = 10
_IDX = {
    f"{part}-{kind}-ubyte": (part, kind)
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
}


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures of digits."""

    pixels: np.ndarray
    """Grey levels, shape (samples, pixels)."""
    classes: np.ndarray
    """Digit of each picture, shape (samples,)."""
    parts: dict[str, np.ndarray]
    """Indices of the samples in each part."""


def read_small(data: Path | None) -> Pictures:
    """Return scikit-learn's digits: 20 % for testing, 10 % for validation; `data` is not used."""
    from sklearn.datasets import load_digits

    pixels, classes = (np.asarray(values) for values in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    ends = np.cumsum([round(share * len(order)) for share in (0.2, 0.1)])
    test, validation, training = np.split(order, ends)
    parts = {"test": test, "validation": validation, "training": training}
    return Pictures(pixels=pixels, classes=classes, parts=parts)


def read_mnist(data: Path | None, *, last_validate: bool = False) -> Pictures:
    """Read MNIST's four files, packed or not; a tenth of the training set is for validation.

    Args:
        data: Folder of the files.
        last_validate: Whether the validation pictures are the last ones; else they are random.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or the labels do not fit the pictures.
    """
    what = "MNIST's IDX files, e.g. train-images-idx3-ubyte.gz"
    found = {
        _IDX[name.rsplit("/", 1)[-1]]: read_idx(name, content)
        for name, content in find_files(data, lambda name: name.rsplit("/", 1)[-1] in _IDX, what)
    }
    lacking = [name for name, key in _IDX.items() if key not in found]
    if lacking:
        raise FileNotFoundError(f"`data` must hold {what}, got none of {', '.join(lacking)}.")
    pixels, classes = [], []
    for part in ("train", "t10k"):
        images, labels = found[part, "images-idx3"], found[part, "labels-idx1"]
        if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() >= NUM_CLASSES:
            raise ValueError(
                f"`data` must hold a label from 0 to 9 for each picture of {part}, got shapes"
                f" {labels.shape} and {images.shape}. Copy the files again."
            )
        pixels.append(images.reshape(len(images), -1))
        classes.append(labels)
    num_training = len(pixels[0])
    order = np.random.default_rng(0).permutation(num_training)
    validation, training = np.split(order, [num_training // 10])
    if last_validate:
        training, validation = np.split(np.arange(num_training), [int(0.9 * num_training)])
    test = np.arange(num_training, num_training + len(pixels[1]))
    parts = {"test": test, "validation": validation, "training": training}
    return Pictures(
        pixels=np.concatenate(pixels), classes=np.concatenate(classes).astype(int), parts=parts
    )


def read_idx(name: str, content: bytes) -> np.ndarray:
    """Return the bytes of an IDX file as an array.

    Raises:
        ValueError: If the file is not an IDX file of bytes, or is incomplete.
    """
    num_axes = content[3] if len(content) >= 4 else 0
    begin = 4 + 4 * num_axes
    if content[:3] != b"\0\0\x08" or not 1 <= num_axes <= 4 or len(content) < begin:
        raise ValueError(f"{name} must be an IDX file of bytes, got {content[:4]!r} at its start.")
    shape = struct.unpack(f">{num_axes}I", content[4:begin])
    if np.prod(shape, dtype=np.int64) != len(content) - begin:
        raise ValueError(
            f"{name} must hold {shape} bytes behind its header, got {len(content) - begin}."
            " Copy it again."
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
