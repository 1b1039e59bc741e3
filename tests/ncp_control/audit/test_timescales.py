import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

from ncp_control import LSTM, Circuit
from ncp_control.audit.timescales import correlate, summarize_timescales, timescales_of


def slow_noise(rng, length, memory):
    noise = rng.normal(size=length)
    for t in range(1, length):
        noise[t] = memory * noise[t - 1] + math.sqrt(1 - memory**2) * noise[t]
    return noise


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
