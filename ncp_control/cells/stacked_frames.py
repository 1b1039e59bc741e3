"""A feedforward network over the last frames: the usual way to make speeds observable.

Its state holds the head's features of the last four frames. So each frame passes through the head
only once, and a faulty frame is one of four.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ncp_control.cells.dense import DenseCell
from ncp_control.cells.feedforward import two_layers

FRAMES = 4


class StackedFrames(DenseCell):
    """Two dense layers over the inputs of the last four frames; zeros before the first frame.

    Args:
        input_size: Width of the inputs of one frame.
        hidden_size: Number of units in each hidden layer.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s]; stored, but without effect.
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int, *, frame_s: float = 1 / 30
    ) -> None:
        super().__init__(
            input_size, hidden_size, output_size, frame_s=frame_s, state_size=FRAMES * input_size
        )
        self.hidden = two_layers(FRAMES * input_size, hidden_size)

    def step(
        self,
        projected: Float[Tensor, "batch input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Drop the oldest frame from the state and append this one."""
        return torch.cat([state[:, self.input_size :], projected], dim=1)

    def readout(self, state: Float[Tensor, "*any state"]) -> Float[Tensor, "*any output"]:
        """Map the stored frames to the outputs."""
        return self.output(self.hidden(state))
