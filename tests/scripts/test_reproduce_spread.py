"""The LTC with slow neurons: it begins with the time constants that its rows tell of."""

import pytest
import torch

from scripts.reproduce import reproduce
from scripts.reproduction import digits, halfcheetah, uci
from scripts.reproduction.completion import Job, Reproduce
from scripts.reproduction.spread import SPREAD, TAU_FRAMES


def forecasting(model, traces):
    """Return the untrained model of a table of forecasts, and its training windows."""
    data = halfcheetah.load(traces).training
    return halfcheetah.set_up(data, 1, "cpu", Job(model, 1, ""))[0], data


def classifying(model, traces):
    """Return the untrained model of a table of classes, and its training windows."""
    data = digits.load().training
    return digits.set_up("digits", data, 1, "cpu", Job(model, 1, ""))[0], data


@pytest.mark.parametrize("begin", [forecasting, classifying])
def test_slow_neurons_have_the_time_constants_told_and_nothing_else_is_changed(begin, traces):
    def first_values(model):
        forecaster, data = begin(model, traces)
        circuit = forecaster.circuit
        lasting_s = circuit.record(data.inputs[1::4]).timescales_s.mean(dim=(0, 1))
        return (lasting_s / circuit.cell.frame_s).sort().values, forecaster.state_dict()

    (quick, published), (slow, spread) = first_values("ltc"), first_values(SPREAD)
    low, high = TAU_FRAMES
    parts = low * (high / low) ** (torch.arange(33) / 32.0)  # of the logarithm, one a neuron
    assert (slow > 0.9 * parts[:-1]).all() and (slow < 1.1 * parts[1:]).all()
    assert quick.max() < 0.5
    changed = {name for name in spread if not spread[name].equal(published[name])}
    assert {name.split(".")[-1] for name in changed} == {"raw_capacitance", "output_offset"}


def test_the_row_tells_the_time_constants_and_is_shown(traces, tmp_path, capsys, read):
    told = {"table": "halfcheetah", "results": tmp_path}
    reproduce(Reproduce(**told, data=traces, models=(SPREAD,), seeds=1, epochs=1))
    assert read(tmp_path / "halfcheetah.csv")[-1]["model"] == SPREAD
    capsys.readouterr()
    reproduce(Reproduce(**told, show=True))
    shown = capsys.readouterr().out
    assert f"| {SPREAD} " in shown and " lr=0.01 tau=0.5-30 epochs=1\n" in shown


def test_only_slow_neurons_have_settings_of_their_own():
    """Rows measured before keep their settings, so that no table trains them again."""
    gesture = uci.training_settings("gesture", "published", "ltc", 200)
    assert gesture == "split=published units=32 batch=16 lr=0.01 epochs=200"
    gesture = uci.training_settings("gesture", "published", SPREAD, 200)
    assert gesture == "split=published units=32 batch=16 lr=0.01 tau=0.5-30 epochs=200"
    assert digits.training_settings("ltc", 80) == "units=32 frame=20 batch=32 lr=0.01 epochs=80"
    slow = digits.training_settings(SPREAD, 80)
    assert slow == "units=32 frame=4 batch=32 lr=0.01 tau=0.5-30 epochs=80"
