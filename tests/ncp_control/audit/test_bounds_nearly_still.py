"""Bounds of a neuron whose elastance may come so close to 0 that it hardly moves."""

import pytest
import torch

from ncp_control import Circuit, Wiring
from ncp_control.audit.bounds import certify
from ncp_control.cells import LRC


@pytest.mark.parametrize("integrator", ["exponential_euler", "layered_midpoint", "explicit_euler"])
@pytest.mark.parametrize("seed", range(3))
def test_the_gain_of_a_short_frame_is_not_lost_to_rounding(integrator, seed):
    """Where 1 - exp(-x) is computed by a subtraction, the bound is 0 and the output changes."""
    torch.manual_seed(seed)
    wiring = Wiring(num_sensory=1, num_inter=0, num_command=0, num_motor=1, synapses=[(0, 1, 1)])
    cell = LRC(wiring, frame_s=0.1, integrator=integrator, unfolds=2, elastance="asymmetric")
    cell = cell.double()
    with torch.no_grad():
        cell.elastance_weight.fill_(1.0)
    bound = float(certify(cell, gain_dt_s=1e-4).frame_gain[0, 0])
    inputs = torch.linspace(-8.0, 8.0, 4001, dtype=torch.float64)[:, None, None]
    state = torch.zeros(4001, 1, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = Circuit(cell)(inputs, state, dt_s=1e-4)
    slope = float(outputs.diff(dim=0).abs().max()) / (16.0 / 4000)
    assert 0.0 < slope <= bound
