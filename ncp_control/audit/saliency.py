"""Saliency maps: pixels that influence a policy's action or one of its neurons.

| method                 | what a pixel's value is                                                 |
|------------------------|-------------------------------------------------------------------------|
| `visual_backprop`      | what the convolutions respond to, independent of the circuit            |
| `input_gradient`       | Σ_c abs(∂y/∂x), how much the decision y changes with the pixel          |
| `integrated_gradients` | Σ_c abs((x − x') ∫ ∂y/∂x), the size of its share of the difference from |
|                        | a baseline; shares of opposite sign largely cancel in the sum           |
| `grad_cam`             | the last feature maps, weighted by the gradient of sign(y)·y            |

A map belongs to one frame. The decision y depends on this frame and on the hidden state before it;
the state is held, so a map shows the influence of its own frame only.

Sources: VisualBackProp: Bojarski et al. 2016 (arXiv 1611.05418); input gradient: Simonyan et al.
2013 (arXiv 1312.6034); integrated gradients: Sundararajan et al. 2017 (arXiv 1703.01365); Grad-CAM:
Selvaraju et al. 2017 (arXiv 1610.02391), with sign(y)·y in place of a class score.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import grad as convolution_gradients

from ncp_control.cells.base import reference_tensor
from ncp_control.names import check_name
from ncp_control.policy import Policy
from ncp_control.policy.frames import BLOCK_FRAMES

Decision = Callable[[Tensor], Tensor]
"""Returns for observations (batch, …) the value y to explain, shape (batch,)."""

_BLUR_SHARE = 0.1


def saliency(
    policy: Policy,
    observations: np.ndarray | Tensor,
    method: str = "visual_backprop",
    *,
    neuron: str | None = None,
    action: int = 0,
    state: Float[Tensor, "batch state"] | None = None,
    dt_s: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch height width"]:
    """Return saliency maps, each scaled to a maximum of 1.

    Args:
        policy: The policy, in evaluation mode.
        observations: Frames, shape (batch, height, width, channels), or records that contain
            frames; their other values are held.
        method: A name in `METHODS`.
        neuron: Name of a neuron, e.g. "command_3", whose state is explained instead of the action.
        action: Index of the action entry to explain.
        state: Hidden state before each frame, see `Activity.states_before`; if None: the initial
            state.
        dt_s: Time elapsed before each frame [s]; if None: the circuit's frame interval.

    Returns:
        Maps in [0, 1]; all zero if nothing in a frame matters.

    Raises:
        ValueError: If the method or neuron is unknown, the observations are not frames, the method
            needs convolutions but the policy has none, or a map is not finite.
    """
    check_name("method", method, METHODS)
    inputs = torch.as_tensor(observations)
    frames = policy.frames_of(inputs)
    if frames.ndim != 4:
        raise ValueError(
            "`observations` must be frames of shape (batch, height, width, channels), got shape"
            f" {tuple(frames.shape)}. A policy without a camera has no saliency map."
        )
    if method == "visual_backprop" and neuron is not None:
        raise ValueError(
            f"`neuron` must be None for 'visual_backprop', got {neuron!r}."
            " Its map does not depend on the circuit; choose 'input_gradient'."
        )
    maps = []
    for part in torch.arange(len(frames)).split(BLOCK_FRAMES):
        decide = decision(
            policy,
            neuron=neuron,
            action=action,
            state=None if state is None else state[part],
            dt_s=None if dt_s is None else dt_s[part],
        )
        maps.append(_scale(METHODS[method](policy, inputs[part], decide)))
    return torch.cat(maps) if maps else frames.new_zeros(frames.shape[:3], dtype=torch.float32)


def decision(
    policy: Policy,
    *,
    neuron: str | None = None,
    action: int = 0,
    state: Tensor | None = None,
    dt_s: Tensor | None = None,
) -> Decision:
    """Return the function to explain: it maps frames, with held states, to one number each.

    Arguments as in `saliency`.

    Raises:
        ValueError: If the neuron is unknown or the index of the action is out of range.
    """
    cell = policy.circuit.cell
    if neuron is not None:
        check_name("neuron", neuron, cell.neuron_names)

    def decide(observations: Tensor) -> Tensor:
        actions, after = policy(observations[:, None], state, dt_s=dt_s)
        if neuron is not None:
            return after[:, cell.neuron_names.index(neuron)]
        if not 0 <= action < actions.shape[2]:
            raise ValueError(
                f"`action` must be from 0 to {actions.shape[2] - 1}, got {action!r}."
                " Choose an entry that the action has."
            )
        return actions[:, 0, action]

    return decide


def input_gradient(policy: Policy, observations: Tensor, decide: Decision) -> Tensor:
    """Return ∂y/∂x with its sign for observations of any kind, in their shape."""
    with torch.inference_mode(False), torch.enable_grad():
        inputs = observations.to(reference_tensor(policy), copy=True).requires_grad_()
        return torch.autograd.grad(decide(inputs).sum(), inputs)[0]


def integrated_gradients(
    policy: Policy,
    observations: Tensor,
    decide: Decision,
    *,
    baseline: Tensor | None = None,
    steps: int = 24,
) -> Tensor:
    """Return (x − x') ∫₀¹ ∂y/∂x(x' + α (x − x')) dα with its sign; it sums to y(x) − y(x').

    Args:
        policy: The policy.
        observations: Observations of any kind.
        decide: Function to explain, see `decision`.
        baseline: x', of the observations' shape; if None: the observations with strongly blurred
            frames. A uniform baseline, such as black, is of no use: heads that standardize each
            image see the same picture along the whole path.
        steps: Number of points of the midpoint rule.
    """
    inputs = observations.to(reference_tensor(policy))
    if baseline is None:
        start = policy.with_frames(inputs, _blur(policy.frames_of(inputs)))
    else:
        start = baseline.to(inputs)
    total = torch.zeros_like(inputs)
    for k in range(steps):
        share = (k + 0.5) / steps
        total += input_gradient(policy, torch.lerp(start, inputs, share), decide)
    return (inputs - start) * total / steps


def _input_gradient_map(policy: Policy, observations: Tensor, decide: Decision) -> Tensor:
    return policy.frames_of(input_gradient(policy, observations, decide)).abs().sum(3)


def _integrated_gradients_map(policy: Policy, observations: Tensor, decide: Decision) -> Tensor:
    return policy.frames_of(integrated_gradients(policy, observations, decide)).abs().sum(3)


def visual_backprop(policy: Policy, seen: Tensor, decide: Decision) -> Tensor:
    """Return the product of the mean feature maps of all layers, from the last to the first.

    A map is upscaled to the size of the layer below by a transposed convolution of ones with the
    layer's own kernel size, stride and padding.
    """
    with torch.no_grad(), _recorded_convolutions(policy) as layers:
        policy.perceive(seen)
    relevance = _check_layers(layers)[-1].maps.relu().mean(1, keepdim=True)
    for k in range(len(layers) - 1, -1, -1):
        relevance = layers[k].spread(relevance)
        if k > 0:
            relevance = relevance * layers[k - 1].maps.relu().mean(1, keepdim=True)
    return relevance[:, 0]


def grad_cam(policy: Policy, seen: Tensor, decide: Decision) -> Tensor:
    """Return ReLU(Σ_k mean(∂|y|/∂A_k) A_k) of the last feature maps A, upscaled to the frame."""
    # Frames require a gradient, so that this also works if all weights are frozen.
    with torch.inference_mode(False), torch.enable_grad(), _recorded_convolutions(policy) as layers:
        inputs = seen.to(reference_tensor(policy), copy=True).requires_grad_()
        score = decide(inputs).abs().sum()
    last = _check_layers(layers)[-1].layer
    blocks = [one.maps for one in layers if one.layer is last]  # a policy runs frames in blocks
    weights = torch.cat(torch.autograd.grad(score, blocks)).mean((2, 3), keepdim=True)
    maps = torch.cat(blocks)
    coarse = (weights * maps).sum(1, keepdim=True).relu().detach()
    size = policy.frames_of(seen).shape[1:3]
    return F.interpolate(coarse, size, mode="bilinear")[:, 0]


METHODS: dict[str, Callable[[Policy, Tensor, Decision], Tensor]] = {
    "visual_backprop": visual_backprop,
    "input_gradient": _input_gradient_map,
    "integrated_gradients": _integrated_gradients_map,
    "grad_cam": grad_cam,
}
"""Saliency methods by name; each returns unscaled maps >= 0."""


@dataclass
class _Convolution:
    """Record of one convolution in a forward pass."""

    layer: nn.Conv2d
    input_shape: torch.Size
    output: Tensor
    maps: Tensor
    """Feature maps passed to the next layer: the output, or its ReLU."""

    def spread(self, relevance: Float[Tensor, "batch 1 rows columns"]) -> Tensor:
        """Upscale a map from output to input size, by a transposed convolution of ones."""
        layer = self.layer
        # The gradient of a convolution with respect to its input is the transposed convolution; it
        # takes the size of the result as an argument.
        return convolution_gradients.conv2d_input(
            (self.input_shape[0], 1, *self.input_shape[2:]),
            relevance.new_ones(1, 1, *layer.kernel_size),
            relevance,
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
        )


@contextmanager
def _recorded_convolutions(policy: Policy) -> Iterator[list[_Convolution]]:
    """Record the convolutions of the forward passes within the block, in order."""
    layers: list[_Convolution] = []

    def note_convolution(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        layers.append(_Convolution(layer, inputs[0].shape, output, output))

    def note_relu(_: nn.Module, inputs: Any, output: Tensor) -> None:
        if layers and inputs[0] is layers[-1].output:
            layers[-1].maps = output

    hooks = [
        module.register_forward_hook(
            note_convolution if isinstance(module, nn.Conv2d) else note_relu
        )
        for module in policy.modules()
        if isinstance(module, nn.Conv2d | nn.ReLU)
    ]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def _check_layers(layers: list[_Convolution]) -> list[_Convolution]:
    if not layers:
        raise ValueError(
            "`policy` must have convolutions for this method, got one that perceives without any."
            " Choose 'input_gradient' or 'integrated_gradients'."
        )
    return layers


def _blur(frames: Tensor) -> Tensor:
    """Blur frames by a Gaussian whose deviation is a tenth of their height; else return zeros."""
    if frames.ndim != 4:
        return torch.zeros_like(frames)
    maps = frames.permute(0, 3, 1, 2)
    deviation = _BLUR_SHARE * frames.shape[1]
    for axis in (2, 3):
        radius = min(round(3.0 * deviation), maps.shape[axis] - 1)
        window = gaussian_window(radius, deviation).to(maps)
        kernel = window.reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
        padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        flat = F.pad(maps.flatten(0, 1)[:, None], padding, mode="reflect")
        maps = F.conv2d(flat, kernel)[:, 0].unflatten(0, maps.shape[:2])
    return maps.permute(0, 2, 3, 1)


def gaussian_window(radius: int, deviation: float) -> Float[Tensor, " taps"]:
    """Return 2·radius + 1 samples of a Gaussian, normalized to sum 1."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    window = torch.exp(-0.5 * (offsets / deviation) ** 2)
    return window / window.sum()


def _scale(maps: Float[Tensor, "batch height width"]) -> Tensor:
    """Divide each map by its largest value; a map of zeros is unchanged."""
    largest = maps.flatten(1).amax(1)
    is_bad = ~torch.isfinite(largest)
    if is_bad.any():
        raise ValueError(
            f"`policy` must give finite maps, got {largest[is_bad][0].item()} for frame"
            f" {int(is_bad.nonzero()[0, 0])} of its chunk. Check its weights and the observations."
        )
    return maps / largest.clamp_min(torch.finfo(maps.dtype).tiny)[:, None, None]
