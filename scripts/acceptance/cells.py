"""Which cells the acceptance on a GPU compares with plain torch, and which it times."""

from collections.abc import Callable
from typing import Any

Make = Callable[[], Any]


def compared_cells(small: bool) -> dict[str, Make]:
    """Return cells by name, at least one of every kernel; small ones for the interpreter."""
    from ncp_control import (
        CTGRU,
        GRU,
        LRC,
        LSTM,
        LTC,
        CfC,
        MixedMemory,
        NeuralODE,
        WiredCfC,
        fully_connected,
        ncp,
    )

    if not small:
        return _circuits() | _dense_cells() | _memories()
    tiny = ncp(3, 2, 2, 1, sensory_fanout=1, inter_fanout=2, recurrent_command=2, motor_fanin=2)
    full, midpoint = fully_connected(3, 3, 1), "layered_midpoint"
    return {
        "fully connected 3-4": lambda: LTC(full, unfolds=1),
        "NCP of 5 neurons, midpoint": lambda: LTC(tiny, unfolds=1, integrator=midpoint),
        "LRC, fully connected 3-4": lambda: LRC(full, unfolds=1),
        "mixed memory of an LTC": lambda: MixedMemory(LTC(full, unfolds=1)),
        "CfC of 3 units": lambda: CfC(2, 3, 1, backbone_units=4),
        "WiredCfC of 5 neurons": lambda: WiredCfC(tiny),
        "LSTM of 3 units that sees time": lambda: LSTM(2, 3, 1, sees_time=True),
        "neural ODE of 3 units": lambda: NeuralODE(2, 3, 1, unfolds=1),
        "CT-GRU of 3 units": lambda: CTGRU(2, 3, 1, num_scales=2),
        "mixed memory of a GRU": lambda: MixedMemory(GRU(2, 3, 1)),
    }


def _circuits() -> dict[str, Make]:
    from ncp_control import LRC, LTC, NCP19, STC, auto_ncp, fully_connected, random_wiring

    midpoint = "layered_midpoint"
    scattered = random_wiring(6, 20, 3, num_sensory_synapses=9, num_inner_synapses=70, seed=3)
    return {
        "NCP of 19 neurons": lambda: LTC(NCP19),
        "NCP of 19 neurons, midpoint": lambda: LTC(NCP19, unfolds=2, integrator=midpoint),
        "fully connected 5-9": lambda: LTC(fully_connected(5, 7, 2), unfolds=3),
        "random, some neurons alone": lambda: LTC(scattered, unfolds=2),
        "auto NCP of 64 neurons": lambda: LTC(auto_ncp(32, 64, 4, seed=0)),
        "STC of 19 neurons": lambda: STC(NCP19, unfolds=2, integrator="explicit_euler"),
        "LRC of 19 neurons": lambda: LRC(NCP19, unfolds=2, integrator="exponential_euler"),
        "LRC of 19 neurons, midpoint": lambda: LRC(
            NCP19, unfolds=1, integrator=midpoint, elastance="asymmetric"
        ),
    }


def _dense_cells() -> dict[str, Make]:
    from ncp_control import (
        CTGRU,
        CTRNN,
        GRU,
        LSTM,
        NCP19,
        ODERNN,
        CfC,
        NeuralODE,
        WiredCfC,
    )

    return {
        "CfC of 19 units": lambda: CfC(32, 19, 1),
        "CfC of 9 units, no gate": lambda: CfC(
            8, 9, 1, mode="no_gate", backbone_units=12, backbone_layers=2, activation="gelu"
        ),
        "CfC of 19 units, pure": lambda: CfC(32, 19, 1, mode="pure", backbone_layers=0),
        "WiredCfC of 19 neurons": lambda: WiredCfC(NCP19),
        "CT-RNN of 19 units": lambda: CTRNN(32, 19, 1),
        "neural ODE of 19 units": lambda: NeuralODE(32, 19, 1, unfolds=2),
        "ODE-RNN of 19 units": lambda: ODERNN(32, 19, 1, unfolds=2),
        "CT-GRU of 19 units": lambda: CTGRU(32, 19, 1),
        "LSTM of 19 units that sees time": lambda: LSTM(32, 19, 1, sees_time=True),
        "LSTM of 64 units": lambda: LSTM(32, 64, 1),
        "GRU of 19 units that sees time": lambda: GRU(32, 19, 1, sees_time=True),
    }


def _memories() -> dict[str, Make]:
    from ncp_control import LTC, NCP19, CfC, MixedMemory

    return {
        "mixed memory of a CfC": lambda: MixedMemory(CfC(32, 19, 1, backbone_layers=0)),
        "mixed memory of an LTC": lambda: MixedMemory(LTC(NCP19, unfolds=2)),
    }


def timed_models() -> dict[str, Any]:
    """Return modules by name; those called plain run on plain torch."""
    from torch import nn

    from ncp_control import (
        CTGRU,
        CTRNN,
        GRU,
        LRC,
        LSTM,
        LTC,
        NCP19,
        ODERNN,
        CfC,
        Circuit,
        MixedMemory,
        NeuralODE,
        WiredCfC,
    )

    size = (32, 19, 1)
    return {
        "LTC, 19 neurons, Triton": Circuit(LTC(NCP19)),
        "LTC, midpoint 1, Triton": Circuit(LTC(NCP19, integrator="layered_midpoint", unfolds=1)),
        "nn.LSTM(32, 19), cuDNN": nn.LSTM(32, 19, batch_first=True),
        "nn.LSTM(32, 64), cuDNN": nn.LSTM(32, 64, batch_first=True),
        "nn.GRU(32, 19), cuDNN": nn.GRU(32, 19, batch_first=True),
        "LTC, 19 neurons, plain torch": Circuit(LTC(NCP19)),
        "LRC, 19 neurons, Triton": Circuit(LRC(NCP19, integrator="exponential_euler", unfolds=2)),
        "CfC of 19 units, Triton": Circuit(CfC(*size)),
        "CfC of 19 units, no backbone, Triton": Circuit(CfC(*size, backbone_layers=0)),
        "WiredCfC, 19 neurons, Triton": Circuit(WiredCfC(NCP19)),
        "CT-RNN of 19 units, Triton": Circuit(CTRNN(*size)),
        "neural ODE of 19 units, Triton": Circuit(NeuralODE(*size)),
        "ODE-RNN of 19 units, Triton": Circuit(ODERNN(*size)),
        "CT-GRU of 19 units, Triton": Circuit(CTGRU(*size)),
        "LSTM of 19 units that sees time, Triton": Circuit(LSTM(*size, sees_time=True)),
        "GRU of 19 units that sees time, Triton": Circuit(GRU(*size, sees_time=True)),
        "mixed memory of an LTC, Triton": Circuit(MixedMemory(LTC(NCP19))),
        "mixed memory of a CfC, Triton": Circuit(MixedMemory(CfC(*size, backbone_layers=0))),
        "CfC of 19 units, plain torch": Circuit(CfC(*size)),
    }
