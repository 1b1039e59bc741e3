"""A cell without memory: what is left of a policy when recurrence is taken away."""

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
    """Two dense layers; the state is their last activity and never feeds back.

    Args:
        input_size: Width of the inputs.
        hidden_size: Units of each hidden layer; the state is the second one.
        output_size: Width of the readout.
        frame_s: Nominal frame interval [s]; kept for the record, it changes nothing.
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
        """Return the hidden activity, whatever came before."""
        return self.hidden(projected)

    def unroll(
        self,
        inputs: Float[Tensor, "batch time input"],
        state: Float[Tensor, "batch state"],
        dt_s: Float[Tensor, "batch time"],
        reset: Bool[Tensor, "batch time"] | None,
    ) -> Float[Tensor, "batch time state"]:
        """Treat every frame alike, all at once."""
        return self.hidden(inputs)
