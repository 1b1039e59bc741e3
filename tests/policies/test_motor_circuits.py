import pytest
import torch

from ncp_control import LTC
from policies.motor_circuits import make_motor_cell, motor_wiring


def test_a_circuit_without_room_for_its_layers_is_refused():
    with pytest.raises(ValueError, match="must be at least 11, got 8. Each output takes a"):
        motor_wiring(17, 8, 6)
    with pytest.raises(ValueError, match="`cell` must be one of"):
        make_motor_cell("perceptron", 17, 32, 6, frame_s=0.05)


def test_an_untrained_circuit_answers_around_zero():
    inputs, dt_s = torch.randn(256, 16, 17), torch.full((256, 16), 0.05)

    def offset(cell):
        outputs, _ = cell.sequence(inputs, cell.initial_state(256), dt_s, None)
        return outputs.mean(dim=(0, 1)).abs().max()

    published = LTC(motor_wiring(17, 32, 6), frame_s=0.05)
    assert offset(make_motor_cell("ltc", 17, 32, 6, frame_s=0.05)) < 0.01 < offset(published)
