"""What the benchmark times: one training step or one control step of each model."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncp_control import LTC, NCP19, Circuit
from ncp_control.kernels.native import require_library
from ncp_control.kernels.step import FusedStep
from policies.driving import make_driving_policy
from scripts.timing import Action


def models() -> dict[str, nn.Module]:
    """Circuits of 32 features and their peers; the first is what the others are compared with."""
    from ncps.torch import LTC as TheirLTC
    from ncps.torch import CfC as TheirCfC
    from ncps.wirings import NCP

    theirs = {
        "ncps LTC": TheirLTC(32, NCP(12, 6, 1, 6, 4, 6, 6)),
        "ncps CfC": TheirCfC(32, NCP(12, 6, 1, 6, 4, 6, 6)),
    }
    peers = {
        "nn.LSTM(32, 19)": nn.LSTM(32, 19, batch_first=True),
        "nn.LSTM(32, 64)": nn.LSTM(32, 64, batch_first=True),
        "nn.GRU(32, 19)": nn.GRU(32, 19, batch_first=True),
    }
    return theirs | our_circuits() | peers


def training_steps(batch: int, length: int, device: str) -> dict[str, Action]:
    """Forward and backward through a sequence, each model with its own output."""
    inputs = torch.rand(batch, length, 32, device=device)
    actions = {
        name: training_step(model.to(device), first, inputs) for name, model in models().items()
    }
    circuit = our_circuits()["ours, semi-implicit 6"].to(device)
    actions["ours, plain torch"] = on_reference(lambda: training_step(circuit, first, inputs))
    if device == "cpu" and torch.get_num_threads() == 1:
        actions |= floors(batch, length)
    return actions


def first(output: tuple[Tensor, Any]) -> Tensor:
    """Return what a model with a state puts out."""
    return output[0]


def our_circuits() -> dict[str, Circuit]:
    """The driving circuit in each mode that has a kernel."""
    return {
        "ours, semi-implicit 6": Circuit(LTC(NCP19)),
        "ours, midpoint 2": Circuit(LTC(NCP19, integrator="layered_midpoint", unfolds=2)),
        "ours, midpoint 1": Circuit(LTC(NCP19, integrator="layered_midpoint", unfolds=1)),
    }


def control_steps() -> dict[str, Action]:
    """One frame, batch 1, without gradients: features in, motor out."""
    from ncps.torch import LTC as TheirLTC
    from ncps.wirings import NCP

    theirs = TheirLTC(32, NCP(12, 6, 1, 6, 4, 6, 6), return_sequences=True)
    features = torch.rand(1, 1, 32)
    vector = features[0, 0].numpy().copy()
    state = torch.zeros(1, 19)
    actions: dict[str, Action] = {"ncps LTC": _without_gradient(lambda: theirs(features, state))}
    for name, circuit in our_circuits().items():
        step = FusedStep(circuit.cell)  # type: ignore[arg-type]
        actions[f"{name}, FusedStep"] = lambda step=step: step(vector, 1 / 30)
    circuit = our_circuits()["ours, semi-implicit 6"]
    actions["ours, semi-implicit 6, Circuit"] = _without_gradient(lambda: circuit(features, state))
    lstm, hidden = nn.LSTM(32, 19, batch_first=True), torch.zeros(1, 1, 19)
    actions["nn.LSTM(32, 19)"] = _without_gradient(lambda: lstm(features, (hidden, hidden)))
    return actions


def driving_steps() -> dict[str, Action]:
    """`FramesPolicy.act` from camera frame to steering, and its parts."""
    frame = np.random.default_rng(0).integers(0, 256, (78, 200, 3), dtype=np.uint8)
    actions: dict[str, Action] = {}
    for head in ("light", "paper"):
        policy = make_driving_policy("ncp", head=head).eval()
        images = torch.from_numpy(frame)[None]
        actions[f"act, {head} head"] = lambda policy=policy: policy.act(frame)
        actions[f"  of it: {head} head"] = _without_gradient(
            lambda policy=policy, images=images: policy.perceive(images)
        )
    actions["  of it: frame to float"] = lambda: torch.from_numpy(frame)[None].float()
    step = FusedStep(make_driving_policy("ncp").circuit.cell)  # type: ignore[arg-type]
    vector = np.random.default_rng(0).random(32, dtype=np.float32)
    actions["  of it: circuit"] = lambda: step(vector, 1 / 30)
    return actions


def training_step(module: nn.Module, pick: Callable[[Any], Tensor], inputs: Tensor) -> Action:
    """Forward and backward, gradients of the parameters and of the inputs."""
    inputs = inputs.clone().requires_grad_()
    weight = torch.rand_like(pick(module(inputs)))

    def step() -> None:
        module.zero_grad(set_to_none=True)
        inputs.grad = None
        pick(module(inputs)).backward(weight)

    return step


BLOCK = 8192
"""Sigmoids at a time: few enough to stay in the cache."""


def floors(batch: int, length: int) -> dict[str, Action]:
    """The sigmoids of a training step, forward and again in the adjoint, and nothing else.

    For NCP19 with 6 unfolds; torch's vectorised sigmoid, and the one inside our kernel.
    """
    inner = NCP19.num_synapses - NCP19.num_sensory_synapses
    times = 2 * batch * length * (NCP19.num_sensory_synapses + 6 * inner) // BLOCK
    values, out = torch.rand(BLOCK), torch.empty(BLOCK)
    library = require_library(torch.float32)

    def by_torch() -> None:
        for _ in range(times):
            torch.sigmoid(values, out=out)

    return {
        "floor: torch.sigmoid, twice": by_torch,
        "floor: the kernel's sigmoid, twice": lambda: library.sigmoids(
            out.data_ptr(), BLOCK, times
        ),
    }


def _without_gradient(action: Action) -> Action:
    def step() -> None:
        with torch.inference_mode():
            action()

    return step


@contextlib.contextmanager
def reference_kernels() -> Iterator[None]:
    """Run the plain-torch circuit."""
    before = os.environ.get("NCP_CONTROL_KERNELS", "auto")
    os.environ["NCP_CONTROL_KERNELS"] = "reference"
    try:
        yield
    finally:
        os.environ["NCP_CONTROL_KERNELS"] = before


def on_reference(make: Callable[[], Action]) -> Action:
    """Make an action and take it with the kernels switched off."""
    with reference_kernels():
        action = make()

    def step() -> None:
        with reference_kernels():
            action()

    return step
