"""Cells of a user's own: a fault is told before the training, and a saved policy comes back."""

import pytest
import torch
from torch import nn

from ncp_control import CellSizes, VectorPolicy, load, make_cell, register_cell, register_wiring
from ncp_control.cells.dense import DenseCell
from ncp_control.cells.known import CELLS
from ncp_control.wiring_rules import WIRINGS

SIZES = CellSizes(num_inputs=3, num_units=5, num_outputs=2, frame_s=0.05)


class Leaky(DenseCell):
    """Leaky units whose drive has a gain."""

    def __init__(self, input_size, hidden_size, output_size, *, frame_s=0.05, gain=1.0):
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        self.gain, self.drive = gain, nn.Linear(input_size, hidden_size)

    def step(self, projected, state, dt_s):
        return 0.5 * state + self.gain * torch.tanh(self.drive(projected))


class Told(Leaky):
    """The same, with all its settings."""

    def settings(self):
        return {**super().settings(), "gain": self.gain}


class OtherNames(Leaky):
    """The same, with arguments of other names."""

    def __init__(self, i, h, o, *, frame_s=0.05):
        super().__init__(i, h, o, frame_s=frame_s)


class Wider(Leaky):
    """The same, built wider than its settings say."""

    def __init__(self, input_size, hidden_size, output_size, *, frame_s=0.05, more=0):
        super().__init__(input_size, hidden_size + more, output_size, frame_s=frame_s)
        self.drive = nn.Linear(input_size, hidden_size + more, bias=not more)


class TwoStates(Leaky):
    """The same, with the states of an LSTM as most people write them."""

    def step(self, projected, state, dt_s):
        return state, state


class Short(Leaky):
    """The same, with one unit too few."""

    def step(self, projected, state, dt_s):
        return super().step(projected, state, dt_s)[:, 1:]


class Undefined(Leaky):
    """The same, dividing by zero."""

    def step(self, projected, state, dt_s):
        return super().step(projected, state, dt_s) / 0.0 * 0.0


def built(cls, **settings):
    """Return what builds a cell of a class from sizes."""
    return lambda s: cls(s.num_inputs, s.num_units, s.num_outputs, frame_s=s.frame_s, **settings)


@pytest.fixture
def known():
    """Register a cell for one test."""
    names = []

    def register(cls, **settings):
        names.append(cls.__name__.lower())
        register_cell(names[-1], cls, build=built(cls, **settings))
        return names[-1]

    yield register
    for name in names:
        del CELLS._things[name], CELLS._sources[name]


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (Leaky, {"gain": 0.1}, "`settings` of cell 'leaky' must build an equal cell, got one that"
         " answers otherwise with the same weights. Let `settings` of Leaky return every argument"),
        (Wider, {"more": 2}, "`settings` of cell 'wider' must build an equal cell, got one that"
         " does not take its weights"),
        (OtherNames, {}, r"`settings` of cell 'othernames' must match its arguments, got \['fr"),
        (TwoStates, {}, r"`step` of cell 'twostates' must return a tensor of shape \(2, 5\), got"
         " 'tuple'. A cell has one state: put h and c side by side"),
        (Short, {}, r"`step` of cell 'short' must be of shape \(2, 5\), got \(2, 4\)"),
        (Undefined, {}, "`step` of cell 'undefined' must be finite, got NaN or infinity"),
    ],
)  # fmt: skip
def test_a_faulty_cell_is_refused_before_it_is_trained(known, cls, settings, message):
    name = known(cls, **settings)
    with pytest.raises(ValueError, match=message):
        make_cell(name, SIZES)


def test_a_cell_that_tells_its_settings_comes_back(known, tmp_path):
    policy = VectorPolicy(make_cell(known(Told, gain=0.1), SIZES), observation_size=3)
    policy.save(tmp_path / "policy")
    again = load(tmp_path / "policy")
    seen = torch.randn(2, 7, 3)
    assert torch.equal(policy(seen)[0], again(seen)[0])


def test_the_check_draws_no_weights(known):
    """A cell begins with the weights that it has without the check."""
    name = known(Told, gain=0.1)
    torch.manual_seed(0)
    cell, drawn_next = make_cell(name, SIZES), torch.rand(1)
    torch.manual_seed(0)
    plain = built(Told, gain=0.1)(SIZES)
    assert torch.equal(cell.drive.weight, plain.drive.weight)
    assert torch.equal(drawn_next, torch.rand(1)) and cell.training


def test_a_policy_that_could_not_come_back_is_not_saved(known, tmp_path):
    known(Leaky)
    policy = VectorPolicy(Leaky(3, 5, 2, gain=0.1), observation_size=3)
    with pytest.raises(ValueError, match="`settings` of cell 'leaky' must build an equal cell"):
        policy.save(tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("name", ["lstm", "cfc", "neural_ode", "feedforward", "mixed_cfc"])
def test_a_wiring_is_refused_by_a_cell_that_has_none(name):
    sizes = CellSizes(num_inputs=3, num_units=8, num_outputs=1, frame_s=0.05, wiring="random")
    with pytest.raises(ValueError, match=f"`wiring` must be left out for the cell '{name}'"):
        make_cell(name, sizes)
    for wired in ("ltc", "lrc", "wired_cfc", "mixed_ltc"):
        make_cell(wired, sizes)


def test_a_rule_that_returns_no_wiring_is_told():
    register_wiring("ones", lambda *sizes, seed: torch.ones(3, 3))
    try:
        sizes = CellSizes(num_inputs=3, num_units=8, num_outputs=1, frame_s=0.05, wiring="ones")
        with pytest.raises(ValueError, match="`wiring` 'ones' must return a Wiring, got 'Tensor'"):
            make_cell("ltc", sizes)
    finally:
        del WIRINGS._things["ones"], WIRINGS._sources["ones"]
