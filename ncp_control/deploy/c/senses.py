"""C code that turns observations into features: scaled numbers with an encoder, or a conv head.

If a policy observes a frame and numbers, the scaled numbers are appended to the head's features.
An observation is then a struct of both.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ncp_control.cells.plain_numbers import to_float32
from ncp_control.deploy.c.dense_cells import matrix
from ncp_control.deploy.c.stages import Stage
from ncp_control.deploy.c.tables import number, struct_table, table
from ncp_control.deploy.c.words import comment
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from ncp_control.policy.heads import ConvHead, square_convolutions
from ncp_control.records import entries_of

INT8_LIMIT = 127
"""Largest weight of an int8 table; the smallest is its negative."""
MAX_SIDE, MAX_PIXELS = 4096, 16_000_000
"""Largest frame, so that sums over its pixels fit in 64 bits."""
PLACES = 4
"""Number of places that a convolution computes together; `parts/unrolled.c` is written for it."""
_PATCH_LIMIT = 8191
"""Largest whole number that represents a pixel for int8 weights."""


@dataclass(frozen=True, kw_only=True)
class Senses:
    """C code and tables that turn observations into features."""

    stage: Stage
    """Tables and code."""
    call: str
    """C statements that compute `w->features` from `observation`."""
    kind: str
    """C type that `observation` points to: the type of a number, or a struct."""
    size: int
    """Number of entries of an observation, or height x width x channels of its frame."""
    types: str = ""
    """C declaration of the observation's struct, if it is a struct."""
    frame: str = ""
    """C expression of the frame in `observation`; "" if there is none."""
    numbers: str = ""
    """C expression of the numbers in `observation`; "" if there are none."""
    num_numbers: int = 0
    """How many numbers an observation has."""


def vector_senses(policy: VectorPolicy) -> Senses:
    """Return the C code for a policy on numbers: scale, limit and encoder."""
    size = policy.observation_size
    widths = [size, *policy.encoder_widths]
    buffers = [f"numbers_{k}" for k in range(len(widths) - 1)] + ["features"]
    scratch = [f"float {name}[{n}]" for name, n in zip(buffers, widths, strict=True)]
    scale, lines = _scale(policy, size, "observation", f"w->{buffers[0]}")
    tables = [scale.tables] if scale.tables else []
    layers = [layer for layer in policy.encoder if isinstance(layer, nn.Linear)]
    for k, layer in enumerate(layers):
        tables.append(matrix(f"encoder_map_{k}", layer.weight))
        tables.append(table(f"encoder_bias_{k}", to_float32(layer.bias)))
        sizes = f"{layer.in_features}, {layer.out_features}"
        result = f"w->{buffers[k + 1]}"
        lines.append(
            f"dense(encoder_map_{k}, encoder_bias_{k}, w->{buffers[k]}, {sizes}, {result});"
        )
        lines.append(f"squash({result}, {layer.out_features});")
    stage = Stage(
        constants=scale.constants,
        tables="\n".join(tables),
        parts=scale.parts,
        scratch=tuple(scratch),
    )
    return Senses(
        stage=stage,
        call="\n    ".join(lines),
        kind="float",
        size=size,
        numbers="observation",
        num_numbers=size,
    )


def _scale(
    policy: VectorPolicy | FramesPolicy, size: int, source: str, target: str
) -> tuple[Stage, list[str]]:
    """Return the stage that scales `size` numbers from `source` to `target`, and its C calls."""
    mean, std, limit = policy.observation_mean, policy.observation_std, policy.observation_limit
    lines = [f"if (!are_finite({source}, {size})) return 0;"]
    tables, parts = "", ()
    if bool((mean == 0).all()) and bool((std == 1).all()):
        lines.append(f"for (int k = 0; k < {size}; k++) {target}[k] = {source}[k];")
    else:
        rows = to_float32(torch.stack([mean, std], dim=1))
        declaration = "struct scale { float mean, deviation; }"
        names = _number_names(policy, size)
        tables, parts = struct_table(declaration, "observation_scale", rows, names), ("normalize",)
        lines.append(f"normalize({source}, {target});")
    if math.isfinite(limit):
        lines.append(
            f"for (int k = 0; k < {size}; k++) {target}[k] = clip({target}[k], {number(limit)});"
        )
    return Stage(constants={"NUMBERS": size}, tables=tables, parts=parts), lines


def _number_names(policy: Policy, size: int) -> list[str]:
    """Return a name for each observed number, from the contract if it names them."""
    entries = () if policy.contract is None else entries_of(policy.contract.observation)
    if len(entries) != size:
        return [f"observation {k}" for k in range(size)]
    return [comment(entry.name) for entry in entries]


def frames_senses(policy: FramesPolicy, weights: str = "float32") -> Senses:
    """Return the C code for a policy on frames.

    Args:
        policy: The policy.
        weights: float32, or int8: whole numbers with one scale for each output of a layer.

    Raises:
        ValueError: If the head does not consist of square convolutions and ReLUs.
    """
    layers, head = square_convolutions(policy.head), cast(ConvHead, policy.head)
    size = math.prod(head.frame_shape)
    if max(head.frame_shape) > MAX_SIDE or size > MAX_PIXELS:
        raise ValueError(
            f"`frame_shape` must be at most {MAX_SIDE} a side and {MAX_PIXELS} numbers in C, got"
            f" {head.frame_shape}. Take smaller frames."
        )
    maps, _, per_map = head.weight.shape
    num_features = maps * per_map
    patch = max(layer.kernel_size[0] ** 2 * layer.in_channels for layer in layers)
    tables, rows = _head_tables(layers, head.map_sizes(), is_int8=weights == "int8")
    dense = _feature_stage(head, patch, is_int8=weights == "int8")
    frame, numbers, kind, types, scale, lines = "observation", "", "uint8_t", "", Stage(), []
    if policy.numbers:
        frame, numbers = "observation->frame", "observation->numbers"
        kind = "struct controller_observation"
        types = _OBSERVATION.replace("NUMBERS", str(policy.numbers))
        target = f"(w->features + {num_features})"
        scale, lines = _scale(policy, policy.numbers, numbers, target)
    constants = {
        "FRAME_PIXELS": size,
        "CONVOLUTIONS": len(layers),
        "PLACES": PLACES,
        "MAPS": maps,
        "FEATURES_PER_MAP": per_map,
        "CONVOLVE": f"convolve_{weights}",
    }
    scratch = (
        "float standardized[256]",
        f"float rows[{max(1, rows)}]",
        f"float patch[{PLACES * patch}]",
        f"float pixels[{PLACES * maps}]",
        f"float features[{num_features + policy.numbers}]",
    )
    stage = Stage(
        constants=constants | dense.constants | scale.constants,
        tables="\n".join(filter(None, [*tables, dense.tables, scale.tables])),
        parts=("head", *scale.parts),
        scratch=scratch + dense.scratch,
    )
    call = "\n    ".join([*lines, f"see(w, {frame}, w->features);"])
    return Senses(
        stage=stage,
        call=call,
        kind=kind,
        size=size,
        types=types,
        frame=frame,
        numbers=numbers,
        num_numbers=policy.numbers,
    )


def _feature_stage(head: ConvHead, patch: int, *, is_int8: bool) -> Stage:
    """Return the stage of the features that are computed from the last convolution.

    Args:
        head: The head.
        patch: Largest number of values under a kernel.
        is_int8: Whether weights are whole numbers with one scale for each feature.
    """
    biases = table("feature_biases", to_float32(head.bias.flatten()))
    weight = head.weight.detach().double()  # (maps, place, features of the map)
    if not is_int8:
        return Stage(
            constants={"FIRST_FEATURE(k)": "feature_biases[k]", "FINISH_FEATURE(x, k)": "(x)"},
            tables=f"{biases}\n{table('feature_weights', to_float32(weight))}",
        )
    maps, _, per_map = weight.shape
    whole, scales = to_int8(weight.transpose(1, 2).flatten(0, 1))  # (features, place)
    whole = whole.reshape(maps, per_map, -1).transpose(0, 2, 1)
    weights = table("feature_weights", whole, "int8_t")
    return Stage(
        constants={
            "FIRST_FEATURE(k)": "0.0f",
            "FINISH_FEATURE(x, k)": "((x) * feature_scales[k] + feature_biases[k])",
            "WHOLE_LIMIT": f"{min(_PATCH_LIMIT, (2**31 - 1) // (INT8_LIMIT * patch))}.0f",
        },
        tables="\n".join([biases, weights, table("feature_scales", scales)]),
        # Behind numbers of 4 bytes, so that pairs of them are aligned.
        scratch=(f"int16_t whole[{PLACES * (patch + patch % 2)}]",),
    )


_OBSERVATION = """\
/* What is sensed: a frame of OBSERVATION_SIZE bytes, and numbers in the order of
 * OBSERVATION_NAMES, in OBSERVATION_UNITS. */
struct controller_observation {
    const uint8_t *frame;
    float numbers[NUMBERS];
};

"""


def to_int8(weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Round weights (outputs, …) to whole numbers; return them and the scale of each output."""
    flat = weight.detach().double().flatten(1)
    scales = to_float32(flat.abs().amax(1).clamp_min(1e-12) / INT8_LIMIT)
    whole = (flat / torch.from_numpy(scales).double()[:, None]).round()
    return whole.reshape(weight.shape).numpy().astype(np.int8), scales


def dequantize(policy: FramesPolicy) -> None:
    """Replace the head's weights by the values that their int8 tables stand for."""
    with torch.no_grad():
        for layer in square_convolutions(policy.head):
            layer.weight.copy_(_rounded(layer.weight))
        weight = cast(ConvHead, policy.head).weight
        weight.copy_(
            _rounded(weight.transpose(1, 2).flatten(0, 1))
            .reshape(weight.shape[0], weight.shape[2], -1)
            .transpose(1, 2)
        )


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    whole, scales = to_int8(weight)
    shape = (-1, *[1] * (weight.ndim - 1))
    return torch.from_numpy(whole).to(weight) * torch.from_numpy(scales).to(weight).reshape(shape)


def _head_tables(
    layers: list[nn.Conv2d], sizes: list[tuple[int, int, int]], *, is_int8: bool
) -> tuple[list[str], int]:
    """Return the tables of the convolutions, and the size of the buffer for their rows."""
    tables, rows, offset = [], [], -1
    total = 0
    for k, layer in enumerate(layers):
        weight = layer.weight.permute(0, 2, 3, 1)  # (out, row, column, in), the order of a patch
        fields: list[Any] = [*sizes[k], *sizes[k + 1]]
        fields += [layer.kernel_size[0], layer.stride[0], int(layer.padding[0]), offset]
        if is_int8:
            whole, scales = to_int8(weight)
            order = whole.reshape(len(whole), -1).T.ravel()
            tables.append(table(f"convolution_weight_{k}", order, "int8_t"))
            tables.append(table(f"convolution_scale_{k}", scales))
            fields += [f"convolution_weight_{k}", f"convolution_scale_{k}"]
        else:
            tables.append(matrix(f"convolution_weight_{k}", weight.flatten(1)))
            fields += [f"convolution_weight_{k}"]
        assert layer.bias is not None
        tables.append(table(f"convolution_bias_{k}", to_float32(layer.bias)))
        rows.append([*fields, f"convolution_bias_{k}"])
        offset = total
        if k + 1 < len(layers):
            total += layers[k + 1].kernel_size[0] * sizes[k + 1][1] * sizes[k + 1][2]
    weights = "const int8_t *weight; const float *scale" if is_int8 else "const float *weight"
    declaration = (
        "struct convolution {\n"
        "    int16_t in_height, in_width, in_channels, out_height, out_width, out_channels;\n"
        "    int16_t kernel, stride, padding;\n"
        "    int32_t rows; /* where its latest rows begin in the workspace; -1: in the frame */\n"
        f"    {weights};\n"
        "    const float *bias;\n"
        "}"
    )
    tables.append(struct_table(declaration, "convolutions", rows))
    return tables, total
