"""Cells of a user's own: a fault is told before the training, and a saved policy comes back."""

import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import (
    GRU,
    NCP19,
    Cell,
    CellSizes,
    Circuit,
    MixedMemory,
    Policy,
    VectorPolicy,
    load,
    make_cell,
    register_cell,
    register_wiring,
)
from ncp_control.cells.dense import DenseCell
from ncp_control.cells.known import CELLS
from ncp_control.wiring_rules import WIRINGS, fully_connected
from scripts.training.settings import check_circuit

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


class Plainly(Told):
    """The same, registered without a function that builds it."""


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


class Noisy(Told):
    """The same, with dropout, batch statistics and noise."""

    def __init__(self, *sizes, frame_s=0.05, gain=1.0, input_size=3, hidden_size=5, output_size=2):
        super().__init__(*(sizes or (input_size, hidden_size, output_size)), frame_s=frame_s)
        self.gain, self.drop, self.norm = gain, nn.Dropout(0.5), nn.BatchNorm1d(self.hidden_size)

    def step(self, projected, state, dt_s):
        after = self.norm(super().step(self.drop(projected), state, dt_s))
        return after + 0.1 * torch.randn_like(after)


class Forgetful(Noisy):
    """The same, which does not tell its gain."""

    def settings(self):
        return {k: v for k, v in super().settings().items() if k != "gain"}


class Typed(Told):
    """The same, with a setting that JSON does not hold."""

    def settings(self):
        return {**super().settings(), "gain": torch.float32}


class Wired(Told):
    """The same, with a wiring under a key of its own."""

    def settings(self):
        return {**super().settings(), "w": NCP19}


class Lazy(Leaky):
    """The same, whose weights have no size before the first call."""

    def __init__(self, input_size, hidden_size, output_size, *, frame_s=0.05):
        super().__init__(input_size, hidden_size, output_size, frame_s=frame_s)
        self.drive = nn.LazyLinear(hidden_size)


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
        (Forgetful, {"gain": 0.1}, "`settings` of cell 'forgetful' must build an equal cell"),
        (Typed, {}, "`settings` of cell 'typed' must be values that JSON holds, got"),
        (Wired, {}, "Return a wiring under the key 'wiring', a cell under the key 'cell', and"),
        (Lazy, {}, "`build` of cell 'lazy' must give every weight its size, got a lazy module"),
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


@pytest.mark.parametrize("cls", [Told, Noisy])
def test_the_check_changes_nothing(known, cls, tmp_path):
    """Neither weights nor statistics, modes or random numbers are others than without it."""
    name = known(cls, gain=0.1)
    torch.manual_seed(0)
    cell, drawn_next = make_cell(name, SIZES), torch.rand(1)
    torch.manual_seed(0)
    plain = built(cls, gain=0.1)(SIZES)
    for key, value in plain.state_dict().items():
        assert torch.equal(cell.state_dict()[key], value)
    assert torch.equal(drawn_next, torch.rand(1)) and cell.training
    if cls is Noisy:
        cell.drop.eval()
        VectorPolicy(cell, observation_size=3).save(tmp_path / "policy")
        assert cell.training and cell.norm.training and not cell.drop.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_policy_of_another_precision_comes_back(known, tmp_path, dtype):
    policy = VectorPolicy(make_cell(known(Told, gain=0.1), SIZES), observation_size=3).to(dtype)
    policy.save(tmp_path / "policy")
    again = load(tmp_path / "policy")
    assert torch.equal(again.circuit.cell.drive.weight, policy.circuit.cell.drive.weight)


def test_a_cell_of_ours_that_holds_a_faulty_one_is_not_saved(known, tmp_path):
    known(Leaky)
    policy = VectorPolicy(MixedMemory(Leaky(3, 5, 2, gain=0.1)), observation_size=3)
    with pytest.raises(ValueError, match="`settings` of cell 'leaky' must build an equal cell"):
        policy.save(tmp_path / "policy")


def test_a_cell_may_keep_the_rule_of_its_wiring_and_not_the_wiring(known):
    sizes = CellSizes(num_inputs=3, num_units=8, num_outputs=1, frame_s=0.05, wiring="random")
    assert isinstance(make_cell(known(Told), sizes), Told)
    register_cell("plainly", Plainly)
    try:
        with pytest.raises(ValueError, match="`wiring` must be left out for the cell 'plainly'"):
            make_cell("plainly", sizes)
    finally:
        del CELLS._things["plainly"], CELLS._sources["plainly"]


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
    with pytest.raises(ValueError, match=f"`wiring` must be left out for the cell '{name}'"):
        check_circuit(name, "random")  # before a job trains the first of its models
    for wired in ("ltc", "lrc", "wired_cfc", "mixed_ltc"):
        make_cell(wired, sizes)
        check_circuit(wired, "random")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda *sizes, seed: torch.ones(3, 3), "must return a Wiring, got 'Tensor'"),
        (lambda inputs, units, motors, seed: fully_connected(inputs, units, motors + 1),
         "must have 3 inputs and 1 motor neurons, got 3 and 2. Let the rule use the sizes"),
        (lambda inputs, units, motors, seed: fully_connected(2, units, motors),
         "must have 3 inputs and 1 motor neurons, got 2 and 1"),
    ],
)  # fmt: skip
def test_a_rule_that_returns_another_wiring_is_told(rule, message):
    register_wiring("mine", rule)
    try:
        sizes = CellSizes(num_inputs=3, num_units=8, num_outputs=1, frame_s=0.05, wiring="mine")
        with pytest.raises(ValueError, match=f"`wiring` 'mine' {message}"):
            make_cell("ltc", sizes)
    finally:
        del WIRINGS._things["mine"], WIRINGS._sources["mine"]


def test_a_build_of_another_number_of_outputs_is_told():
    register_cell("wide", Told, build=lambda sizes: Told(sizes.num_inputs, sizes.num_units, 7))
    try:
        with pytest.raises(ValueError, match="`build` of cell 'wide' .* 2 outputs, got 7. Use"):
            make_cell("wide", SIZES)
    finally:
        del CELLS._things["wide"], CELLS._sources["wide"]


def test_a_class_that_lacks_a_method_is_named():
    class Bare(Cell):
        """A cell without anything of its own."""

    class Blind(Policy):
        """A policy that perceives nothing."""

    cell = Bare(2, 3, 1, frame_s=0.1)
    cell.weight = nn.Parameter(torch.ones(1))
    seen = torch.zeros(1, 1, 2)
    with pytest.raises(NotImplementedError, match="`step` must be defined by the class Bare, got"):
        Circuit(cell)(seen)
    with pytest.raises(NotImplementedError, match="`readout` must be defined by the class Bare"):
        cell.readout(torch.zeros(1, 3))
    with pytest.raises(NotImplementedError, match="`settings` must be defined by the class Bare"):
        cell.settings()
    blind = Blind(Circuit(GRU(2, 3, 1)))
    with pytest.raises(NotImplementedError, match="`perceive` must be defined by the class Blind"):
        blind(seen)
    with pytest.raises(NotImplementedError, match="`to_config` must be defined by the class Blind"):
        blind.to_config()
    with pytest.raises(NotImplementedError, match="`from_config` must be .* Blind, got none. Bu"):
        Blind.from_config({})


class Fixed(Cell):
    """A cell without parameters; its gain is a buffer."""

    def __init__(self, gain=0.5):
        super().__init__(2, 2, 2, frame_s=0.1)
        if gain is not None:
            self.register_buffer("gain", torch.tensor(gain))

    def step(self, projected, state, dt_s):
        return state + 0.5 * projected

    def readout(self, state):
        return state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cell_without_parameters_runs(dtype):
    seen = torch.ones(1, 3, 2, dtype=dtype)
    outputs, last = Circuit(Fixed().to(dtype))(seen)
    assert torch.equal(outputs[0, :, 0], torch.tensor([0.5, 1.0, 1.5], dtype=dtype))
    assert torch.equal(last, outputs[:, -1])
    policy = VectorPolicy(Fixed(), observation_size=2)
    assert np.array_equal(policy.act(np.ones(2)), [0.5, 0.5])
    assert Circuit(Fixed(gain=None))(seen.float())[0].shape == (1, 3, 2)
