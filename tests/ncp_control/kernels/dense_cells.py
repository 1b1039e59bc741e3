"""Cells of every kind that the kernel of dense cells runs."""

from collections.abc import Callable

import torch

from ncp_control import (
    CTGRU,
    CTRNN,
    GRU,
    LRC,
    LSTM,
    LTC,
    NCP19,
    ODERNN,
    STC,
    CfC,
    MixedMemory,
    NeuralODE,
    WiredCfC,
    auto_ncp,
    fully_connected,
    random_wiring,
)
from ncp_control.cells import Cell

SCATTERED = random_wiring(6, 20, 3, num_sensory_synapses=9, num_inner_synapses=70, seed=3)

CELLS: dict[str, Callable[[], Cell]] = {
    "cfc": lambda: CfC(5, 7, 2, backbone_units=13),
    "cfc, no backbone": lambda: CfC(3, 19, 2, backbone_layers=0),
    "cfc, two layers": lambda: CfC(
        9, 4, 2, backbone_units=6, backbone_layers=2, mode="no_gate", activation="silu"
    ),
    "cfc, wide backbone": lambda: CfC(2, 3, 1, backbone_units=33),
    "cfc, relu": lambda: CfC(2, 3, 1, backbone_units=5, activation="relu"),
    "cfc, tanh": lambda: CfC(2, 3, 1, backbone_units=5, activation="tanh"),
    "cfc, gelu": lambda: CfC(2, 3, 1, backbone_units=5, activation="gelu"),
    "cfc, pure": lambda: CfC(5, 7, 2, backbone_units=13, mode="pure"),
    "cfc, pure, no backbone": lambda: CfC(1, 1, 1, backbone_layers=0, mode="pure"),
    "ct-rnn": lambda: CTRNN(5, 7, 2),
    "ct-rnn, one sub-step": lambda: CTRNN(40, 17, 2, unfolds=1),
    "neural ode": lambda: NeuralODE(5, 7, 2, unfolds=2),
    "neural ode, one sub-step": lambda: NeuralODE(5, 3, 2, unfolds=1),
    "ode-rnn": lambda: ODERNN(5, 7, 2, unfolds=2),
    "ct-gru": lambda: CTGRU(5, 7, 2),
    "ct-gru, one scale": lambda: CTGRU(20, 9, 2, num_scales=1),
    "memory and ode-rnn": lambda: MixedMemory(ODERNN(5, 7, 2, unfolds=1)),
    "memory and ct-gru": lambda: MixedMemory(CTGRU(3, 4, 2, num_scales=3)),
    "lstm": lambda: LSTM(5, 7, 2),
    "lstm that sees time": lambda: LSTM(5, 17, 2, sees_time=True),
    "gru": lambda: GRU(5, 7, 2),
    "gru that sees time": lambda: GRU(50, 3, 2, sees_time=True),
    "memory and cfc": lambda: MixedMemory(CfC(5, 7, 2, backbone_units=13)),
    "memory and pure cfc": lambda: MixedMemory(CfC(5, 7, 2, backbone_layers=0, mode="pure")),
    "memory and ct-rnn": lambda: MixedMemory(CTRNN(5, 7, 2, unfolds=3)),
    "wired cfc": lambda: WiredCfC(NCP19),
    "wired cfc, pure": lambda: WiredCfC(auto_ncp(4, 9, 2), mode="pure"),
    "wired cfc, no gate": lambda: WiredCfC(fully_connected(3, 5, 2), mode="no_gate"),
    "memory and wired cfc": lambda: MixedMemory(WiredCfC(auto_ncp(4, 9, 2))),
    "memory and gru that sees time": lambda: MixedMemory(GRU(5, 7, 2, sees_time=True)),
    "stc": lambda: STC(SCATTERED),
    "stc, explicit": lambda: STC(auto_ncp(4, 9, 2), integrator="explicit_euler", unfolds=2),
    "stc, layered": lambda: STC(auto_ncp(4, 12, 2), integrator="layered_midpoint", unfolds=2),
    "lrc": lambda: LRC(NCP19, integrator="exponential_euler", unfolds=2),
    "lrc, semi-implicit": lambda: LRC(SCATTERED, unfolds=3),
    "lrc, asymmetric": lambda: LRC(
        fully_connected(3, 5, 2), elastance="asymmetric", integrator="exponential_euler", unfolds=1
    ),
    "lrc, layered": lambda: LRC(fully_connected(3, 4, 4), integrator="layered_midpoint", unfolds=2),
    "lrcu": lambda: LRC(auto_ncp(4, 9, 2), integrator="explicit_euler", unfolds=1),
    "ltc, exponential": lambda: LTC(SCATTERED, integrator="exponential_euler", unfolds=2),
    "memory and small ltc": lambda: MixedMemory(LTC(fully_connected(2, 3, 1), unfolds=1)),
    "memory and ltc": lambda: MixedMemory(LTC(auto_ncp(4, 9, 2))),
    "memory and layered ltc": lambda: MixedMemory(
        LTC(NCP19, integrator="layered_midpoint", unfolds=2)
    ),
    "memory and lrc": lambda: MixedMemory(LRC(auto_ncp(4, 9, 2), unfolds=2)),
}


def randomised(cell: Cell) -> Cell:
    """Move every parameter off its initial value."""
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return cell
