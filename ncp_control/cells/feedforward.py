"""A cell without memory: the baseline that shows what recurrence contributes to a policy."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from ncp_control.cells.dense import DenseCell


def two_layers(input_size: int, hidden_size: int) -> nn.Sequential:
    """Return two dense layers of equal size, each with a ReLU."""
    return nn.Sequential(
        nn.Linear(input_size, hidden_size),
        nn.ReLU(),
        nn.Linear(hidden_size, hidden_size),
        nn.ReLU(),
    )


class Feedforward(DenseCell):
    """Two dense layers; the state is the activity of the second one and never feeds back.

    Args:
        input_size: Width of the inputs.
        hidden_size: Number of units in each hidden layer.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s]; stored, but without effect.
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int, *, frame_s: float = 1 / 30
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        self.hidden = two_layers(input_size, hidden_size)

    def step(
        self,
        projected: Float[Tensor, "batch input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch state"]:
        """Return the hidden activity, which does not depend on earlier frames."""
        return self.hidden(projected)

    def unroll(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> Float[Tensor, "batch time state"]:
        """Apply the two layers to all frames at once."""
        return self.hidden(inputs)
