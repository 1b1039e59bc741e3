"""Write your own cell: leaky integrators, each with its own time constant.

    τ dv/dt = −v + tanh(W [u, v] + b),  solved exactly over a frame with constant tanh

In the clone; or in a folder of your own, with the path of the clone before `scripts`:

    cp examples/own_cell.py .
    python scripts/train.py ppo --world gymnasium:Pendulum-v1 --cell leaky --import own_cell
    python scripts/evaluate.py RUN/policy --import own_cell
    python scripts/audit.py RUN/policy --import own_cell
"""

import torch
from torch import nn

from ncp_control import register_cell
from ncp_control.cells.dense import DenseCell


class Leaky(DenseCell):
    """Leaky integrators, driven by the inputs and by each other, with a linear readout."""

    def __init__(self, input_size, hidden_size, output_size, *, frame_s=0.05):
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        self.drive = nn.Linear(input_size + hidden_size, hidden_size)
        first_tau_s = torch.empty(hidden_size).uniform_(1.0, 10.0) * frame_s
        self.log_tau = nn.Parameter(first_tau_s.log())  # so that τ stays positive

    def step(self, projected, state, dt_s):
        """Advance the state (batch, units) by `dt_s` seconds (batch,)."""
        target = torch.tanh(self.drive(torch.cat([projected, state], dim=1)))
        kept = torch.exp(-dt_s[:, None] / self.log_tau.exp())
        return target + (state - target) * kept

    @property
    def has_timescales(self):
        """True if the audit can plot time constants."""
        return True

    def timescales(self, inputs, state):
        """Return τ [s] of each unit; here it does not depend on inputs or state."""
        return self.log_tau.exp().expand_as(state)


register_cell("leaky", Leaky)
