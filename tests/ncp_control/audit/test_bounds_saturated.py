"""Certified bounds of STC and LRC circuits: never violated, and reached where they can be."""

import numpy as np
import pytest
import torch

from ncp_control import LRC, NCP19, STC, Circuit, auto_ncp, fully_connected
from ncp_control.audit.bounds import (
    VACUOUS_TAU_S,
    certify,
    describe_violations,
    drawn_tau_s,
    find_violations,
)

KINDS = {
    "stc": lambda wiring, **how: STC(wiring, **how),
    "symmetric": lambda wiring, **how: LRC(wiring, **how),
    "asymmetric": lambda wiring, **how: LRC(wiring, elastance="asymmetric", **how),
}
INTEGRATORS = ("semi_implicit_euler", "explicit_euler", "exponential_euler", "layered_midpoint")


def wild(cell, seed, scale=1.0):
    """Random weights far from the first ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return cell


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_random_episodes_respect_the_bounds(kind, integrator):
    wiring = NCP19 if integrator in INTEGRATORS[2:] else fully_connected(3, 5, 2)
    cell = wild(KINDS[kind](wiring, integrator=integrator, unfolds=2), 1).double()
    inputs = 4.0 * torch.randn(100, 12, cell.input_size).double()
    dt_s = torch.rand(100, 12).double() ** 4 * 10.0
    dt_s[:, 3], dt_s[:, 5] = 0.0, 1e30
    activity = Circuit(cell).record(inputs, dt_s=dt_s)
    certificate = certify(cell)
    assert describe_violations(find_violations(certificate, activity)) == "never violated"
    known = certify(cell, -1.0, 1.0)
    inside = Circuit(cell).record(inputs.clamp(-1.0, 1.0), dt_s=dt_s)
    assert find_violations(known, inside) == []
    assert (known.state.size <= certificate.state.size + 1e-12).all()
    for limits, outputs in ((certificate.output, activity.outputs), (known.output, inside.outputs)):
        low, high = (torch.from_numpy(end) - 1e-9 for end in (limits.low, limits.high + 2e-9))
        assert ((outputs >= low) & (outputs <= high)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_state_is_larger_than_the_formula_says(kind):
    """|v| ≤ e / σ(g) < 2 e, from the paper's equation alone."""
    cell = wild(KINDS[kind](NCP19), 3)
    p = cell.effective_parameters()
    limit = (p.leak_potential / torch.sigmoid(p.leak_conductance)).detach()
    low, high = (torch.from_numpy(end).float() for end in certify(cell).state)
    assert (-low <= limit * 1.0001).all() and (high <= limit * 1.0001).all()
    assert (limit < 2.0 * p.leak_potential).all()
    states = Circuit(cell).record(10.0 * torch.randn(20, 50, 32), dt_s=0.5).states
    assert (states.abs().amax(dim=(0, 1)) <= limit).all()
    assert states.abs().max() > 0.4 * limit.min()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_gains_bound_every_gradient_and_every_lasting_difference(kind, integrator):
    wiring = auto_ncp(3, 8, 2) if integrator == "layered_midpoint" else fully_connected(3, 4, 2)
    cell = KINDS[kind](wiring, integrator=integrator, unfolds=2)
    cell = wild(cell, 5, scale=0.3).double()
    certificate = certify(cell, -1.0, 1.0, gain_dt_s=0.1)
    generator = torch.Generator().manual_seed(0)
    past = 2.0 * torch.rand(200, 6, 3, generator=generator).double() - 1.0
    _, state = Circuit(cell)(past, dt_s=0.1)
    now = (2.0 * torch.rand(200, 1, 3, generator=generator).double() - 1.0).requires_grad_()
    outputs, _ = Circuit(cell)(now, state.detach(), dt_s=0.1)
    for k in range(2):
        slopes = torch.autograd.grad(outputs[:, 0, k].sum(), now, retain_graph=True)[0]
        largest = slopes[:, 0].abs().amax(dim=0).numpy()
        assert (largest <= certificate.frame_gain[k] * (1 + 1e-9)).all()
        assert (largest > 0.0).all()
    # A lasting difference of one input moves an output no further than its gain says.
    for j in range(3):
        other = past.clone()
        other[:, :, j] = (other[:, :, j] + 0.05).clamp(max=1.0)
        one, _ = Circuit(cell)(past, dt_s=0.1)
        two, _ = Circuit(cell)(other, dt_s=0.1)
        moved = (two - one).abs().amax(dim=(0, 1)).detach().numpy()
        assert (moved <= certificate.lasting_gain[:, j] * 0.05 * (1 + 1e-9)).all()


def test_time_constants_of_an_lrc_are_bounded_above_where_it_sees_neurons_alone():
    """φ < τ always; inputs without limits can take an elastance to 0, potentials cannot."""
    cell = LRC(NCP19, elastance="asymmetric")
    certificate = certify(cell)
    assert (certificate.tau_s.low > cell.frame_s).all()
    assert np.isfinite(certificate.tau_s.high).all()
    is_vacuous = certificate.tau_s.high > VACUOUS_TAU_S
    assert is_vacuous[:12].all() and not is_vacuous[12:].any()
    assert (certify(cell, 0.0, 1.0).tau_s.high < 10.0).all()
    assert (drawn_tau_s(certificate, np.full((5, 19), 0.1)).high[:12] == 1.0).all()
    stc = certify(STC(NCP19))
    assert (stc.tau_s.high < 2.0 * cell.frame_s * 1.0001).all()


def test_a_circuit_that_can_overshoot_is_not_certified():
    with pytest.raises(ValueError, match="must be integrated without overshooting, got .*'rk4'"):
        certify(LRC(NCP19, integrator="rk4"))
