import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

from ncp_control import LSTM, Circuit
from ncp_control.audit.samples import autocorrelation, effective_samples, standardize
from ncp_control.audit.timescales import (
    Correlation,
    correlate,
    summarize_timescales,
    time_unit,
    timescales_of,
)


def slow_noise(rng, length, memory):
    noise = rng.normal(size=length)
    for t in range(1, length):
        noise[t] = memory * noise[t - 1] + math.sqrt(1 - memory**2) * noise[t]
    return noise


@pytest.mark.parametrize(
    ("frame_s", "text"),
    [(0.0, "5400000 ms"), (0.05, "5400000 ms"), (1.0, "5400 s"), (900.0, "90 min"), (7e3, "1.5 h")],
)
def test_time_constants_are_in_the_largest_unit_that_fits_into_a_frame(frame_s, text):
    assert time_unit(frame_s).text(5400.0) == text


def test_tau_follows_from_the_recorded_synapses(recorded):
    """w s = current / (E − v), so τ = C / (g + Σ current / (E − v))."""
    circuit, _, activity = recorded
    cell = circuit.cell
    p = cell.effective_parameters()
    pull = p.reversal_potential - activity.states[0][:, cell.target]
    opened = (activity.synaptic_currents[0] / pull).detach()
    total = p.leak_conductance + torch.zeros(120, 19).index_add(1, cell.target, opened)
    expected = (p.capacitance_s / total).detach()
    np.testing.assert_allclose(timescales_of(activity), expected, rtol=1e-4)
    rows = summarize_timescales(activity, {"input": activity.states[0, :, 3].numpy()})
    assert [row.neuron for row in rows] == activity.neuron_names
    assert rows[4].low_s == pytest.approx(float(expected[:, 4].min()), rel=1e-4)
    assert rows[4].high_s == pytest.approx(float(expected[:, 4].max()), rel=1e-4)
    assert rows[4].mean_s == pytest.approx(float(expected[:, 4].mean()), rel=1e-4)


def test_correlation_of_white_signals_is_pearsons_with_fishers_interval():
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = 0.6 * x + 0.8 * rng.normal(size=4000)
    ours, scipy = correlate(x, y), stats.pearsonr(x, y)
    assert ours.r == pytest.approx(scipy.statistic)
    interval = scipy.confidence_interval()
    assert (ours.low, ours.high) == pytest.approx(interval, abs=2e-3)
    assert ours.is_certain


def test_interval_of_slow_signals_covers_the_truth():
    """Unrelated signals with a memory of 20 frames: a naive interval misses zero mostly."""
    rng = np.random.default_rng(0)
    naive_hits = hits = 0
    for _ in range(300):
        x, y = slow_noise(rng, 500, 0.95), slow_noise(rng, 500, 0.95)
        found = correlate(x, y)
        hits += found.low <= 0.0 <= found.high
        naive = stats.pearsonr(x, y).confidence_interval()
        naive_hits += naive.low <= 0.0 <= naive.high
    assert naive_hits < 150
    assert hits >= 0.9 * 300


def test_perfect_and_constant_signals():
    x = np.sin(np.arange(200) / 9.0)
    assert correlate(x, -2.0 * x + 1.0).r == pytest.approx(-1.0)
    flat = correlate(x, np.full(200, 8.0))
    assert math.isnan(flat.r) and not flat.is_certain


def test_cells_without_tau_short_and_damaged_records_are_named(recorded):
    _, inputs, activity = recorded
    lstm = Circuit(LSTM(32, 4, 1)).record(inputs)
    with pytest.raises(ValueError, match="`activity` must have time constants, got none"):
        summarize_timescales(lstm, {})
    with pytest.raises(ValueError, match=r"at least 4 samples, got \(1,\) and \(1,\)"):
        correlate(np.zeros(1), np.zeros(1))
    broken = activity.timescales_s.clone()
    broken[0, 7, 2] = torch.nan
    with pytest.raises(ValueError, match="must be finite, got nan in frame 7"):
        timescales_of(dataclasses.replace(activity, timescales_s=broken))


def test_the_interval_of_a_slow_correlation_is_fishers_with_the_effective_samples():
    rng = np.random.default_rng(2)
    x = slow_noise(rng, 400, 0.8)
    y = 0.5 * x + slow_noise(rng, 400, 0.9)
    found = correlate(x, y)
    assert found.r == pytest.approx(stats.pearsonr(x, y).statistic)
    n_eff = found.effective_samples
    expected = effective_samples(autocorrelation(standardize(x)) * autocorrelation(standardize(y)))
    assert n_eff == pytest.approx(expected) and 10.0 < n_eff < 200.0
    half = 1.959964 / math.sqrt(n_eff - 3.0)
    limits = [math.tanh(math.atanh(found.r) + side * half) for side in (-1.0, 1.0)]
    assert (found.low, found.high) == pytest.approx(limits, rel=1e-6)


def test_four_effective_samples_and_less_tell_nothing():
    """Four samples without memory: n_eff is 4 exactly, and Fisher's interval needs more."""
    quick, slow = np.array([1.0, -1.0, 1.0, -2.0]), np.array([1.0, 2.0, -1.0, -2.0])
    found = correlate(quick, slow)  # the first lag's product is negative: every sample counts
    assert found.effective_samples == 4.0 and 0.0 < abs(found.r) < 1.0
    assert (found.low, found.high) == (-1.0, 1.0) and not found.is_certain
    more = correlate(np.append(quick, 1.0), np.array([1.0, 2.0, 0.0, -1.0, -2.0]))
    assert more.effective_samples == 5.0 and -1.0 < more.low < more.r < more.high < 1.0


def test_a_perfect_correlation_has_no_width():
    x = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    for sign in (1.0, -1.0):
        found = correlate(x, sign * x)
        assert (found.r, found.low, found.high) == (sign, sign, sign) and found.is_certain


@pytest.mark.parametrize(
    ("low", "high", "is_certain"),
    [(0.1, 0.9, True), (-0.9, -0.1, True), (-0.1, 0.9, False), (0.0, 0.9, False),
     (-0.9, 0.0, False)],
)  # fmt: skip
def test_certain_is_what_leaves_out_zero(low, high, is_certain):
    found = Correlation(r=0.5, low=low, high=high, effective_samples=9.0)
    assert found.is_certain is is_certain


def test_one_constant_signal_is_enough_to_have_no_correlation():
    wave, flat = np.sin(np.arange(9.0)), np.full(9, 2.0)
    for x, y in ((wave, flat), (flat, wave), (flat, flat)):
        found = correlate(x, y)
        assert math.isnan(found.r) and math.isnan(found.effective_samples)
        assert (found.low, found.high) == (-1.0, 1.0)


def test_signals_of_unequal_shape_are_refused_and_four_samples_are_enough():
    four = np.array([0.0, 1.0, 0.0, 2.0])
    assert correlate(four, four).r == 1.0
    for x, y in ((four[:3], four[:3]), (four, np.append(four, 1.0)), (four[:, None],) * 2):
        with pytest.raises(ValueError, match="one shape"):
            correlate(x, y)
    with pytest.raises(ValueError, match="`y` must be finite, got nan in frame 2"):
        correlate(four, np.array([0.0, 1.0, np.nan, 2.0]))


def test_entries_without_time_constant_are_left_out_and_half_of_one_is_refused(recorded):
    _, _, activity = recorded
    without = activity.timescales_s.clone()
    without[..., 5] = torch.nan  # as the memory of a mixed-memory cell
    rows = summarize_timescales(dataclasses.replace(activity, timescales_s=without), {})
    assert [row.neuron for row in rows] == [n for n in activity.neuron_names if n != "inter_5"]
    without[0, 3, 5] = 1.0
    with pytest.raises(ValueError, match="must be finite, got nan in frame 0"):
        summarize_timescales(dataclasses.replace(activity, timescales_s=without), {})


def test_a_damaged_signal_is_named(recorded):
    _, _, activity = recorded
    speed = np.ones(120)
    speed[8] = np.inf
    with pytest.raises(
        ValueError, match=r"`signals\['speed'\]` must be finite, got inf in frame 8"
    ):
        summarize_timescales(activity, {"speed": speed})


def test_rounding_takes_no_correlation_beyond_one():
    """Of 50 signals some have a mean square above 1 in double precision; Fisher's z ends at 1."""
    rng = np.random.default_rng(0)
    signals = [rng.normal(size=101) for _ in range(50)]
    assert max(np.mean(standardize(x) ** 2) for x in signals) > 1.0
    for x in signals:
        for sign in (1.0, -1.0):
            found = correlate(x, sign * x)
            assert found.r == pytest.approx(sign) and abs(found.r) <= 1.0
            assert found.low <= found.r <= found.high and found.effective_samples > 4.0
