"""Files of a saved policy: reading, writing and checking.

    config.json           format version, name and module of the policy, settings, contract
    weights.safetensors   every parameter and buffer

No code in them is executed, and a small file cannot claim much memory: the header of the weights
states the number of weights, and building the policy may allocate only about as many numbers. Then
names, shapes and dtypes in the header are compared with those of the policy. The weights are read
only if all of them agree.
"""

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ncp_control import files
from ncp_control.contract import Contract
from ncp_control.json_files import read_json, shorten
from ncp_control.tensor_budget import TensorBudget, TensorBudgetError

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"
MONITOR_FILE, EXCERPT_FILE = "monitor.json", "excerpt.safetensors"
"""Files that the calibration of a monitor and an audit write beside a policy; they are removed when
the policy is replaced."""
MAX_CONFIG_BYTES = 128 * 2**20
"""Largest size of config.json: enough for two million synapses."""
MAX_STATE_SIZE = 10_000_000
"""Largest size of a circuit's state. The state is not among the weights: it is allocated only when
the policy acts."""
WORKING_SHARE, WORKING_NUMBERS = 10, 2**24
"""Numbers that building a policy may allocate: WORKING_SHARE times the number of weights, plus
WORKING_NUMBERS."""

_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_DTYPES = _FLOATS | {
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Dtypes of weights by their name in safetensors."""
_UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)
"""Exceptions that constructors raise for settings of another policy, or for too large numbers."""


def check_destination(folder: Path) -> None:
    """Check that a policy may be written to a folder.

    Raises:
        ValueError: If the folder is a file, or holds something other than a policy.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"`folder` must not be a file, got {str(folder)!r}. Name a new folder.")
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - {CONFIG_FILE, WEIGHTS_FILE, MONITOR_FILE, EXCERPT_FILE})
    if CONFIG_FILE in names and not _is_a_policys(folder / CONFIG_FILE):
        others = [CONFIG_FILE, *others]
    if others:
        raise ValueError(
            f"`folder` must be new or hold nothing but a policy, got {str(folder)!r} with"
            f" {others[0]!r} in it. Name a new folder."
        )


def _is_a_policys(config: Path) -> bool:
    """True if `save` may have written this config.json, even if the file is damaged now."""
    if not config.is_file() or config.stat().st_size > MAX_CONFIG_BYTES:
        return False
    return b'"format_version"' in config.read_bytes()


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged or has another format version.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"`folder` must hold config.json, got {str(folder)!r}. Name the folder that"
            " Policy.save wrote, e.g. runs/<run>/policy."
        )
    try:
        config = read_json(path, max_bytes=MAX_CONFIG_BYTES)
    except ValueError as error:
        raise ValueError(f"{path} must be JSON: {error}. Save the policy again.") from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} must hold one JSON object, got {shorten(config)}. Save the policy again."
        )
    version = config.get("format_version")
    is_known = type(version) is int and version == FORMAT_VERSION
    if not is_known or not {"policy", "settings"} <= config.keys():
        raise ValueError(
            f"{path} must be a policy of format version {FORMAT_VERSION}, got version"
            f" {shorten(version)}. {_advice(folder)}"
        )
    return config


def weights_content(policy: nn.Module) -> bytes:
    """Return the content of weights.safetensors for a policy."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in policy.state_dict().items()}
    return safetensors.torch.save(tensors)


def weights_sha256(policy: nn.Module) -> str:
    """Return the SHA-256 hash of weights.safetensors for a policy."""
    return hashlib.sha256(weights_content(policy)).hexdigest()


def _advice(folder: Path) -> str:
    """Return advice for a config.json that does not belong to a policy."""
    if (folder / "policy" / CONFIG_FILE).is_file():
        return f"Name the policy in this run, {folder / 'policy'}."
    return "Save it with this version of ncp-control."


def read_contract(config: Mapping[str, Any], folder: Path) -> Contract | None:
    """Return the contract in a config, or None if it has none.

    A warning tells if there is a provenance, but no hash that ties it to the weights.

    Raises:
        ValueError: If the contract is damaged, or the hash of the weights is not the one in it.
    """
    if "contract" not in config:
        return None
    try:
        contract = Contract.from_json(config["contract"])
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE}: {error}") from error
    wanted = contract.provenance.get("weights_sha256")
    if wanted is not None:
        if wanted != (found := files.sha256_of(folder / WEIGHTS_FILE)):
            raise ValueError(
                f"{folder / WEIGHTS_FILE} must have the SHA-256 sum {shorten(wanted)} of its"
                f" contract, got {found}. Copy config.json and weights.safetensors together."
            )
    elif contract.provenance:
        warnings.warn(
            f"the contract of '{folder}' has no weights_sha256: whether its provenance is that of"
            " the weights is not checked",
            stacklevel=3,
        )
    return contract


def load_policy(
    build: Callable[[Mapping[str, Any]], nn.Module], config: Mapping[str, Any], folder: Path
) -> Any:
    """Build a policy and load its weights.

    Args:
        build: Function that builds an untrained policy from its settings.
        config: Config from `read_config`.
        folder: Folder of the weights.

    Raises:
        FileNotFoundError: If the weights are missing.
        ValueError: If the settings do not fit the policy's class, or the weights do not fit the
            policy.
    """
    path = folder / WEIGHTS_FILE
    header = _read_header(path)
    policy = _build(build, config, folder, sum(math.prod(shape) for _, shape in header.values()))
    _check_header(header, policy, path)
    _fill(policy, path)
    return policy


def _build(
    build: Callable[[Mapping[str, Any]], nn.Module],
    config: Mapping[str, Any],
    folder: Path,
    num_weights: int,
) -> nn.Module:
    name, settings = config["policy"], config["settings"]
    where = f"`settings` in {folder / CONFIG_FILE} must be those of a {name}"
    remedy = "Copy or save the policy again."
    if not isinstance(settings, dict):
        raise ValueError(f"{where}, got {shorten(settings)}. {remedy}")
    try:
        with TensorBudget(WORKING_SHARE * num_weights + WORKING_NUMBERS):
            policy = build(settings)
    except TensorBudgetError as error:
        raise ValueError(
            f"{where} with the {num_weights} numbers in {WEIGHTS_FILE}, got {error}. Copy both"
            " files together."
        ) from error
    except _UNFIT as error:
        raise ValueError(f"{where}, got {_reason(error)}. {remedy}") from error
    state_size = getattr(getattr(getattr(policy, "circuit", None), "cell", None), "state_size", 0)
    if state_size > MAX_STATE_SIZE:
        raise ValueError(
            f"{where}, got a circuit with a state of {state_size} numbers, where {MAX_STATE_SIZE}"
            f" is the most. {remedy}"
        )
    return policy


def _reason(error: Exception) -> str:
    """Describe in a few words why settings do not fit, without torch's internal messages."""
    if isinstance(error, KeyError):
        return f"none named {shorten(error.args[0] if error.args else '')}"
    if isinstance(error, RecursionError):
        return "cells nested too deeply"
    if isinstance(error, ArithmeticError | MemoryError | RuntimeError):
        return "numbers that are too large or too small"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".")


def _read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of each tensor in a file, without reading the values."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the policy has no weights. Copy both files.")
    try:
        # Opened for NumPy, because torch would allocate memory for the whole file.
        with safetensors.safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            return {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a whole safetensors file: {error}. Copy or save it again."
        ) from error


def _check_header(
    header: Mapping[str, tuple[str, tuple[int, ...]]], policy: nn.Module, path: Path
) -> None:
    """Check that a weights file has the names, shapes and dtypes that a policy needs."""
    remedy = "Copy config.json and weights.safetensors together."
    needed: dict[str, Tensor] = policy.state_dict()
    for found, wanted, what in ((header, needed, "is missing"), (needed, header, "is too much")):
        other = sorted(wanted.keys() - found.keys())
        if other:
            raise ValueError(
                f"{path} does not fit the policy in config.json: {shorten(other[0])} {what}."
                f" {remedy}"
            )
    kinds: dict[str, tuple[str, str]] = {}
    for name, tensor in needed.items():
        dtype, shape = header[name]
        if shape != tensor.shape:
            raise ValueError(
                f"{path} does not fit the policy in config.json: `{name}` must have shape"
                f" {tuple(tensor.shape)}, got {shape}. {remedy}"
            )
        if not tensor.is_floating_point():
            if _DTYPES.get(dtype) != tensor.dtype:
                raise ValueError(
                    f"`{name}` in {path} must be {tensor.dtype}, got {dtype}. {remedy}"
                )
            continue
        if dtype not in _FLOATS:
            raise ValueError(
                f"`{name}` in {path} must be {tensor.dtype} or another of {sorted(_FLOATS)}, got"
                f" {dtype}. {remedy}"
            )
        part = name.partition(".")[0] if "." in name else ""
        first, expected = kinds.setdefault(part, (name, dtype))
        if dtype != expected:
            raise ValueError(
                f"`{name}` in {path} must be {expected} as `{first}` is, got {dtype}. {remedy}"
            )


def _fill(policy: nn.Module, path: Path) -> None:
    """Load the weights into a policy whose names and shapes were checked."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a whole safetensors file: {error}. Copy or save it again."
        ) from error
    _check_values(policy, tensors, path)
    targets: dict[str, Tensor] = policy.state_dict(keep_vars=True)
    for name, target in targets.items():
        target.data = target.data.to(tensors[name].dtype)  # the policy takes the saved precision
    try:
        policy.load_state_dict(tensors)
    except RuntimeError as error:
        # Names and shapes fit, so a module raised this; its message follows torch's first line.
        reason = " ".join(str(error).partition("\n")[2].split())
        raise ValueError(f"{path} does not fit the policy in config.json: {reason}") from error


def _check_values(policy: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not finite, or not positive although in `positive_tensors`."""
    positive = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in policy.named_modules()
        for name in getattr(module, "positive_tensors", ())
    }
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        rule, is_good = "finite", torch.isfinite(tensor)
        if name in positive:
            rule, is_good = "positive and finite", is_good & (tensor > 0)
        if not is_good.all():
            entry = (~is_good).nonzero()[0].tolist()
            value = tensor[tuple(entry)].item()
            raise ValueError(
                f"`{name}` in {path} must be {rule}, got {value!r} at entry {entry}."
                " Copy the policy again, or train it again."
            )
