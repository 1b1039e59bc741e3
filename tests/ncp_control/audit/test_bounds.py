import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ncp_control import LRC, LSTM, LTC, NCP19, Circuit, Wiring, fully_connected
from ncp_control.audit.bounds import (
    certificate_of,
    certify,
    describe_violations,
    find_violations,
    is_vacuous_gain,
)
from ncp_control.cells.ltc import inverse_softplus


def stiff(cell, seed, scale=2.0):
    """Random weights far from the initial ones, reversal potentials included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return cell


@pytest.mark.parametrize(
    "integrator",
    ["semi_implicit_euler", "explicit_euler", "exponential_euler", "layered_midpoint"],
)
def test_10000_random_episodes_respect_the_bounds(integrator):
    cell = stiff(LTC(NCP19, integrator=integrator), seed=1, scale=0.7)
    batch = 10_000 if integrator == "semi_implicit_euler" else 500
    inputs = 3.0 * torch.randn(batch, 5, 32)
    dt_s = 0.1 * torch.rand(batch, 5)
    activity = Circuit(cell).record(inputs, dt_s=dt_s)
    certificate = certify(cell)
    assert describe_violations(find_violations(certificate, activity)) == "never violated"
    known = certify(cell, -1.0, 1.0)
    inside = Circuit(cell).record(inputs[:500].clamp(-1.0, 1.0), dt_s=dt_s[:500])
    assert find_violations(known, inside) == []
    assert (known.state.size <= certificate.state.size + 1e-12).all()
    assert (known.tau_s.size < certificate.tau_s.size).all()
    assert (known.speed < certificate.speed).all()
    low, high = certificate.output
    assert low.shape == high.shape == (1,)
    assert (activity.outputs >= torch.tensor(low) - 1e-4).all()
    assert (activity.outputs <= torch.tensor(high) + 1e-4).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_bounds_hold_for_any_weights_and_wiring(seed):
    cell = stiff(LTC(fully_connected(3, 4, 2, seed=seed)), seed)
    inputs = 5.0 * torch.randn(64, 20, 3, generator=torch.Generator().manual_seed(seed))
    activity = Circuit(cell).record(inputs)
    assert find_violations(certify(cell), activity) == []


def test_bounds_of_one_neuron_are_those_of_the_formula():
    """One input, one motor neuron: every interval by hand."""
    cell = LTC(fully_connected(1, 1, 1))
    p = {name: x.detach().double().numpy() for name, x in
         cell.effective_parameters()._asdict().items()}  # fmt: skip
    certificate = certify(cell)
    c, g, v = (p[name] for name in ("capacitance_s", "leak_conductance", "leak_potential"))
    w, e = p["weight"], p["reversal_potential"]
    ends = [(g * v + sum(w[list(s)] * e[list(s)])) / (g + sum(w[list(s)]))
            for s in ([], [0], [1], [0, 1])]  # fmt: skip
    low, high = certificate.state
    assert min(*ends, 0.0) - 1e-9 <= low and high <= max(*ends, 0.0) + 1e-9
    # The input's synapse may close or open fully, the recurrent one only as far as v goes.
    opening = [1 / (1 + np.exp(-p["slope"][1] * (x - p["threshold"][1]))) for x in (low, high)]
    np.testing.assert_allclose(certificate.tau_s.high, c / (g + w[1] * min(opening)))
    np.testing.assert_allclose(certificate.tau_s.low, c / (g + w[0] + w[1] * max(opening)))


def test_tightest_interval_is_reached():
    """Held at an extreme input for long, a neuron without inner synapses gets to its end."""
    cell = LTC(NCP19)
    certificate = certify(cell, 0.5, 0.5)
    activity = Circuit(cell).record(torch.full((1, 400, 32), 0.5))
    resting = activity.states[0, -1, :12].numpy()
    ends = np.stack([certificate.state.low[:12], certificate.state.high[:12]])
    np.testing.assert_allclose(np.abs(ends - resting).min(axis=0), 0.0, atol=1e-5)


def test_gain_bounds_every_gradient():
    cell = LTC(NCP19)
    features = torch.rand(64, 1, 32, requires_grad=True)
    state = Circuit(cell).record(torch.randn(64, 5, 32)).states[:, -1]
    outputs, _ = Circuit(cell)(features, state)
    (gradient,) = torch.autograd.grad(outputs.sum(), features)
    certificate = certify(cell)
    assert (gradient[:, 0].abs().amax(0).numpy() <= certificate.frame_gain[0] + 1e-7).all()
    assert (
        np.isinf(certificate.lasting_gain).all()
        or (certificate.lasting_gain >= certificate.frame_gain - 1e-9).all()
    )


def test_gain_of_one_synapse_is_that_of_the_formula():
    """One sub-step from a held state: δv = h w γ s(1 − s) |E − v| / (C + h (g + w s))."""
    cell = LTC(
        Wiring(num_sensory=1, num_inter=0, num_command=0, num_motor=1, synapses=((0, 1, 1),)),
        unfolds=1,
    )
    with torch.no_grad():
        cell.output_scale.fill_(-3.0)
    p = [x[0].item() for x in cell.effective_parameters()]
    c, g, v_leak, w, threshold, slope, e = p
    s = 1.0 / (1.0 + np.exp(-slope * (0.2 - threshold)))
    end = (g * v_leak + w * s * e) / (g + w * s)  # v lies between 0 and this
    pull = max(abs(e), abs(e - end))
    h = cell.frame_s
    certificate = certify(cell, 0.2, 0.2)
    expected = 3.0 * h * w * slope * s * (1.0 - s) * pull / (c + h * (g + w * s))
    np.testing.assert_allclose(certificate.frame_gain, [[expected]], rtol=1e-5)
    expected = 3.0 * w * slope * s * (1.0 - s) * pull / (g + w * s)
    np.testing.assert_allclose(certificate.lasting_gain, [[expected]], rtol=1e-5)
    rate = max(abs(g * v_leak + w * s * e), abs(g * (v_leak - end) + w * s * (e - end))) / c
    np.testing.assert_allclose(certificate.speed, [rate], rtol=1e-5)


def test_lasting_gain_of_weak_synapses_bounds_two_runs():
    cell = LTC(NCP19)
    with torch.no_grad():
        cell.raw_weight.fill_(-4.0)
        cell.raw_leak_conductance.fill_(0.5)
    gain = certify(cell).lasting_gain
    assert np.isfinite(gain).all()
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(32, 60, 32, generator=generator)
    other = one + 0.1 * torch.rand(32, 60, 32, generator=generator)
    difference = (Circuit(cell)(one)[0] - Circuit(cell)(other)[0]).detach().abs().max()
    assert 0.0 < float(difference) <= 0.1 * gain.sum()


class Broken(LTC):
    """A circuit one of whose synapses has a negative conductance."""

    def effective_parameters(self):
        p = super().effective_parameters()
        weight = p.weight.clone()
        weight[self.target == 14] *= -0.3
        return p._replace(weight=weight)


def test_a_broken_circuit_is_caught():
    torch.manual_seed(3)
    healthy = LTC(NCP19)
    broken = Broken(NCP19)
    broken.load_state_dict(healthy.state_dict())
    activity = Circuit(broken).record(torch.randn(4, 60, 32))
    found = find_violations(certify(healthy), activity)
    assert "tau" in {v.quantity for v in found if v.neuron == "command_2"}
    assert describe_violations(found).startswith("violated: ")
    with pytest.raises(ValueError, match=r"`weight` must be finite and >= 0, got -"):
        certify(broken)


def test_an_overshooting_integrator_is_caught_where_it_overshoots():
    """One explicit Runge-Kutta step of a frame leaves the reversal potentials at once."""
    torch.manual_seed(0)
    cell, sound = LTC(NCP19, integrator="rk4", unfolds=1), LTC(NCP19)
    sound.load_state_dict(cell.state_dict())
    activity = Circuit(cell).record(torch.rand(3, 2, 32))
    worst = find_violations(certify(sound), activity)[0]
    neuron = activity.neuron_names.index(worst.neuron)
    recorded = float(activity.states[worst.sequence, worst.frame, neuron])
    assert worst.quantity == "state" and worst.value == pytest.approx(recorded)
    assert f"at frame {worst.frame} of sequence {worst.sequence}" in str(worst)
    with pytest.raises(ValueError, match="without overshooting, got integrator 'rk4'"):
        certify(cell)


def test_only_cells_without_bounds_have_no_certificate():
    sound = LTC(NCP19)
    certificate = certificate_of(sound)
    assert certificate is not None
    np.testing.assert_array_equal(certificate.state.high, certify(sound).state.high)
    assert certificate_of(LRC(NCP19)) is not None
    assert certificate_of(LTC(NCP19, integrator="rk4")) is None
    assert certificate_of(LSTM(3, 4, 1)) is None
    with torch.no_grad():
        sound.raw_weight[0] = np.nan
    with pytest.raises(ValueError, match="`weight` must be finite"):
        certificate_of(sound)


def test_a_step_in_no_time_is_caught():
    circuit = Circuit(LTC(NCP19))
    activity = circuit.record(torch.rand(1, 3, 32), dt_s=torch.tensor([[0.1, 0.0, 0.1]]))
    assert find_violations(certify(circuit.cell), activity) == []
    activity.states[0, 1] += 0.01
    found = find_violations(certify(circuit.cell), activity)
    assert {(v.quantity, v.frame, v.value) for v in found} >= {("speed", 1, np.inf)}


def test_a_reset_is_no_motion_and_an_empty_recording_no_violation():
    circuit = Circuit(LTC(NCP19))
    reset = torch.zeros(1, 50, dtype=torch.bool)
    reset[0, 25] = True
    dt_s = torch.full((1, 50), 0.03)
    dt_s[0, 25] = 1e-4
    activity = circuit.record(torch.rand(1, 50, 32), dt_s=dt_s, reset=reset)
    assert find_violations(certify(circuit.cell), activity) == []
    forgotten = dataclasses.replace(activity, reset=None)
    assert {v.frame for v in find_violations(certify(circuit.cell), forgotten)} == {25}
    nothing = circuit.record(torch.rand(1, 0, 32))
    assert find_violations(certify(circuit.cell), nothing) == []


CHAIN = Wiring(
    num_sensory=1, num_inter=1, num_command=0, num_motor=1, synapses=((0, 1, 1), (1, 2, 1))
)
"""Input to inter neuron to motor neuron."""


@pytest.mark.parametrize("frames", [1.0, 3.0])
@pytest.mark.parametrize(
    ("integrator", "unfolds"),
    [
        ("semi_implicit_euler", 6),
        ("exponential_euler", 2),
        ("layered_midpoint", 1),
        ("layered_midpoint", 2),
    ],
)
def test_gain_of_a_chain_at_rest_is_all_but_reached(integrator, unfolds, frames):
    """Weak synapses, most sensitive at rest: nothing is left for the intervals to lose."""
    cell = LTC(CHAIN, integrator=integrator, unfolds=unfolds).double()
    with torch.no_grad():
        cell.raw_capacitance.copy_(inverse_softplus(torch.tensor([0.3, 3.0])))
        cell.raw_leak_conductance.copy_(inverse_softplus(torch.tensor([1.0, 0.01])))
        cell.raw_weight.copy_(inverse_softplus(torch.tensor([1e-3, 1e-3])))
        cell.leak_potential.zero_()
        cell.threshold.zero_()
    dt_s = frames * cell.frame_s
    features = torch.zeros(1, 1, 1, dtype=torch.float64, requires_grad=True)
    outputs, _ = Circuit(cell)(features, dt_s=dt_s)
    (gradient,) = torch.autograd.grad(outputs.sum(), features)
    certificate = certify(cell, 0.0, 0.0, gain_dt_s=dt_s)
    assert 0.98 < float(gradient) / certificate.frame_gain[0, 0] <= 1.0
    assert certificate.frame_gain[0, 0] < certificate.lasting_gain[0, 0] < np.inf


def test_what_cannot_be_certified_is_named():
    circuit = Circuit(LTC(NCP19))
    activity = circuit.record(torch.randn(1, 5, 32))
    with pytest.raises(
        ValueError,
        match="`cell` must be an LTC, STC or LRC to be certified, got 'LSTM'.* policy.circuit.cell",
    ):
        certify(LSTM(32, 4, 1))
    for name in ("output_scale", "input_offset"):
        broken = LTC(NCP19)
        with torch.no_grad():
            getattr(broken, name)[0] = torch.nan
        with pytest.raises(ValueError, match=f"`{name}` must be finite, got nan"):
            certify(broken)
    leakless = LTC(NCP19)
    with torch.no_grad():
        leakless.raw_leak_conductance[3] = -200.0
    with pytest.raises(ValueError, match="`leak_conductance` must be finite and > 0, got 0.0"):
        certify(leakless)
    with pytest.raises(ValueError, match=r"`input_low` must be at most `input_high`, got 1.0 and"):
        certify(circuit.cell, 1.0, 0.0)
    with pytest.raises(ValueError, match="`input_low` must be numbers, got NaN among them. Give"):
        certify(circuit.cell, np.nan, 0.0)
    with pytest.raises(ValueError, match=r"`input_high` must be .* \(32,\), got shape \(3,\)"):
        certify(circuit.cell, 0.0, np.ones(3))
    for time_s in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="`gain_dt_s` must be a finite time >= 0 in"):
            certify(circuit.cell, gain_dt_s=time_s)
    lstm = Circuit(LSTM(32, 4, 1)).record(torch.randn(1, 5, 32))
    with pytest.raises(ValueError, match="`activity` must be of the certified circuit"):
        find_violations(certify(circuit.cell), lstm)
    states = activity.states.clone()
    states[0, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="must be finite, got nan"):
        find_violations(certify(circuit.cell), dataclasses.replace(activity, states=states))


@pytest.mark.parametrize("reads", ["command", "all"])
def test_what_outputs_read_is_certified_too(reads):
    cell = stiff(LTC(NCP19, integrator="layered_midpoint", reads=reads), seed=3, scale=0.5)
    inputs = 2.0 * torch.rand(500, 12, 32) - 1.0
    certificate = certify(cell, -1.0, 1.0)
    outputs = Circuit(cell).record(inputs).outputs
    low, high = (torch.tensor(end) for end in certificate.output)
    assert (outputs >= low - 1e-4).all() and (outputs <= high + 1e-4).all()
    read = cell.read_weight.detach().double().numpy()[0]
    v = certificate.state
    ends = np.stack([read * end[cell.read_neurons] for end in v])
    with torch.no_grad():
        cell.read_weight.zero_()
    alone = certify(cell, -1.0, 1.0).output
    np.testing.assert_allclose(certificate.output.low - alone.low, ends.min(axis=0).sum())
    np.testing.assert_allclose(certificate.output.high - alone.high, ends.max(axis=0).sum())


def test_the_gain_of_a_frame_covers_what_is_read():
    cell = LTC(NCP19, integrator="layered_midpoint", reads="all").double()
    with torch.no_grad():
        cell.read_weight.uniform_(-1.0, 1.0)
        cell.output_scale.zero_()  # nothing but what is read is left
    certificate = certify(cell, -1.0, 1.0)
    inputs = torch.zeros(1, 1, 32, dtype=torch.float64, requires_grad=True)
    outputs, _ = Circuit(cell)(inputs)
    (slope,) = torch.autograd.grad(outputs.sum(), inputs)
    assert 0.0 < slope.abs().max()
    assert (slope[0].abs().numpy() <= certificate.frame_gain).all()
    assert (certificate.frame_gain <= certificate.lasting_gain).all()


def test_a_gain_that_allows_the_whole_range_is_vacuous():
    gain = np.array([[0.5, 4.0, np.inf], [0.5, 4.0, 0.0]])
    found = is_vacuous_gain(gain, np.array([1.0, 0.5, 0.0]), np.array([2.0, 2.5]))
    assert found.tolist() == [[False, True, True], [False, False, False]]
