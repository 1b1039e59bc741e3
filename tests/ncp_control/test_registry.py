"""Names that a user's own module brings, in settings and in saved policies."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from ncp_control import (
    CELLS,
    LSTM,
    LTC,
    NCP19,
    Cell,
    CellSizes,
    CfC,
    FramesPolicy,
    Policy,
    VectorPolicy,
    make_cell,
    register_cell,
    register_head,
    register_wiring,
)
from ncp_control.cells import cell_from_config, cell_to_config
from ncp_control.policy.heads import Head
from ncp_control.registry import Registry
from ncp_control.wiring_rules import WIRINGS, fully_connected
from policies.driving import make_driving_policy
from policies.motor_circuits import make_motor_cell

DRIVING = CellSizes(num_inputs=32, num_units=4, num_outputs=1, frame_s=0.1)
SIZES = CellSizes(num_inputs=5, num_units=12, num_outputs=2, frame_s=0.1)
OWN_MODULE = """
from torch import nn
from ncp_control import LSTM, register_cell, register_head
from ncp_control.policy.heads import Head

class Mine(LSTM):
    pass

class Brightness(Head):
    def __init__(self, frame_shape):
        super().__init__()
        self.map = nn.Linear(3, 32)

    def forward(self, frames):
        return self.map(frames.to(self.map.weight.dtype).mean((1, 2)))

register_cell("mine", Mine)
register_head("brightness", Brightness)
"""


class Mine(LTC):
    """A cell that a test registers."""


@pytest.mark.usefixtures("own_names")
def test_a_taken_name_is_refused_but_a_reloaded_module_is_not():
    register_cell("mine", LSTM)
    with pytest.raises(ValueError, match=r"`name` of a cell must be free, got 'mine', which"):
        register_cell("mine", CfC)
    again = type("LSTM", (LSTM,), {"__module__": LSTM.__module__})
    register_cell("mine", again)
    assert CELLS["mine"].cls is again
    for name in ("a:b", "", "../up", "two words"):
        with pytest.raises(ValueError, match="`name` of a cell must be of letters"):
            register_cell(name, LSTM)


def test_two_lambdas_are_two_things():
    things = Registry("thing")
    things.register("one", lambda: 1)
    with pytest.raises(ValueError, match="`name` of a thing must be free"):
        things.register("one", lambda: 2)
    assert str(things) == "one" and str(Registry("thing")) == "none yet"
    things.register("two", len)
    things.register("three", max)
    assert str(things) == "one, three or two"


@pytest.mark.usefixtures("own_names")
def test_what_is_no_cell_or_cannot_be_built_from_sizes_is_refused():
    with pytest.raises(TypeError, match="cls"):
        register_cell("mine", nn.Linear)
    with pytest.raises(ValueError, match="`build` must be given for Mine, which cannot be called"):
        register_cell("mine", Mine)
    register_cell("mine", Mine, build=lambda sizes: Mine(NCP19))
    with pytest.raises(ValueError, match="`build` of cell 'mine' must return one of 5 inputs, got"):
        make_cell("mine", SIZES)
    register_cell("none", CfC, build=lambda sizes: sizes)
    with pytest.raises(TypeError, match="`build` of cell 'none' must return a Cell, got 'CellSiz"):
        make_cell("none", SIZES)
    with pytest.raises(ValueError, match="`cell` must be one of .* Did you mean 'ctrnn'"):
        make_cell("CT-RNN", SIZES)


@pytest.mark.parametrize("name", list(CELLS))
def test_every_name_builds_a_cell_of_its_class_that_answers(name):
    for cell in (make_cell(name, SIZES), make_motor_cell(name, 5, 12, 2, frame_s=0.1)):
        assert isinstance(cell, Cell) and type(cell) is CELLS[name].cls
        assert (cell.input_size, cell.output_size, cell.frame_s) == (5, 2, 0.1)
        again = cell_from_config(json.loads(json.dumps(cell_to_config(cell))))
        assert type(again) is type(cell)
    policy = make_driving_policy(name, head="light", num_units=6)
    assert policy.act(np.zeros((78, 200, 3), np.uint8)).shape == (1,)


def test_a_class_is_saved_under_its_own_name():
    names = {name: cell_to_config(make_cell(name, SIZES))["name"] for name in CELLS}
    assert names["ncp"] == names["ltc"] == "ltc"
    assert names["cnn"] == names["mlp"] == names["feedforward"] == "feedforward"
    assert "module" not in cell_to_config(make_cell("ltc", SIZES)), "ours need no import"


@pytest.mark.usefixtures("own_names")
@pytest.mark.parametrize("name", ["ltc", "wired_cfc"])
def test_a_wiring_of_ones_own_is_drawn_for_wired_cells(name):
    def ring(num_sensory, num_neurons, num_motor, *, seed):
        return fully_connected(num_sensory, num_neurons, num_motor, seed=seed + 7)

    register_wiring("ring", ring)
    cell = make_motor_cell(name, 5, 12, 2, frame_s=0.1, wiring="ring", seed=1)
    assert cell.wiring == fully_connected(5, 12, 2, seed=8)
    with pytest.raises(ValueError, match="`wiring` must be one of .* Did you mean 'ring'"):
        make_motor_cell(name, 5, 12, 2, frame_s=0.1, wiring="rang")


@pytest.mark.parametrize("name", list(WIRINGS))
def test_every_wiring_suits_every_size_and_its_seed(name):
    rule = WIRINGS[name]
    assert (rule(5, 12, 2, seed=3).num_sensory, rule(5, 12, 2, seed=3).num_motor) == (5, 2)
    assert rule(5, 12, 2, seed=3) == rule(5, 12, 2, seed=3) != rule(5, 12, 2, seed=4)
    assert make_motor_cell("ltc", 5, 12, 2, frame_s=0.1, wiring=name).state_size == 12


def test_a_random_wiring_is_as_large_as_the_ncp_that_it_is_measured_against():
    model, drawn = WIRINGS["auto_ncp"](9, 20, 3, seed=2), WIRINGS["random"](9, 20, 3, seed=2)
    assert (model.num_synapses, model.num_sensory_synapses) == (
        drawn.num_synapses,
        drawn.num_sensory_synapses,
    )


@pytest.mark.usefixtures("own_names")
def test_a_policy_of_own_parts_says_what_to_import(tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import my_parts  # type: ignore[import-not-found]

    policy = FramesPolicy(
        make_cell("mine", DRIVING),
        head="brightness",
    ).eval()
    other = VectorPolicy(my_parts.Mine(5, 4, 1), observation_size=5)
    policy.save(tmp_path / "seeing")
    other.save(tmp_path / "numbers")
    frames = torch.randint(0, 256, (1, 2, 78, 200, 3), dtype=torch.uint8)
    assert torch.equal(Policy.load(tmp_path / "seeing")(frames)[0], policy(frames)[0])

    _forget("my_parts")
    with pytest.raises(
        ValueError, match="`head` must be one of .*got 'brightness'.*--import my_pa"
    ):
        Policy.load(tmp_path / "seeing")
    with pytest.raises(ValueError, match="`cell` must be one of .*got 'mine'.*--import my_parts"):
        Policy.load(tmp_path / "numbers")


def _forget(module):
    from ncp_control.policy.heads import HEADS

    sys.modules.pop(module)
    for registry in (CELLS, HEADS):
        for name in [n for n in registry if registry.module_of(n) == module]:
            del registry._things[name], registry._sources[name]


@pytest.mark.usefixtures("own_names")
def test_a_cell_that_nobody_registered_is_not_saved():
    with pytest.raises(ValueError, match=r"`cell` must be of a registered class, got 'Mine'"):
        cell_to_config(Mine(NCP19))
    register_cell("mine", Mine, build=lambda sizes: Mine(sizes.draw_wiring()))
    assert isinstance(cell_from_config(json.loads(json.dumps(cell_to_config(Mine(NCP19))))), Mine)


@pytest.mark.usefixtures("own_names")
def test_a_head_that_gives_other_features_is_told():
    class Short(Head):
        def forward(self, frames):
            return torch.zeros(len(frames), 31)

    register_head("short", lambda frame_shape: Short())
    register_head("plain", lambda frame_shape: nn.Flatten())
    with pytest.raises(TypeError, match="`build` of head 'plain' must return a Head, got 'Fl"):
        FramesPolicy(make_cell("lstm", DRIVING), head="plain")
    policy = FramesPolicy(
        make_cell("lstm", DRIVING),
        head="short",
    )
    with pytest.raises(ValueError, match=r"`head` 'short' must give 32 features of a frame"):
        policy.act(np.zeros((78, 200, 3), np.uint8))


def test_a_rule_that_cannot_draw_a_wiring_is_refused():
    with pytest.raises(TypeError, match="`rule` must be a function .*, got 'Wiring'. Give a fun"):
        register_wiring("mine", NCP19)
    with pytest.raises(
        ValueError, match=r"seed=seed\), got \(a, b, c\): got an unexpected .*'seed'"
    ):
        register_wiring("mine", lambda a, b, c: NCP19)
    assert "mine" not in WIRINGS
