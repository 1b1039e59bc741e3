"""One circuit of every kind, for the tests of what all of them owe."""

import numpy as np
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
    Feedforward,
    MixedMemory,
    NeuralODE,
    StackedFrames,
    WiredCfC,
    auto_ncp,
    fully_connected,
    random_wiring,
)
from ncp_control.cells import SynapticCell


def _read(cell: SynapticCell) -> SynapticCell:
    """Return a circuit whose outputs read other neurons, as they do after a training."""
    assert cell.read_weight is not None
    with torch.no_grad():
        cell.read_weight.uniform_(-0.3, 0.3)
    return cell


RANDOM = random_wiring(32, 12, 3, num_sensory_synapses=40, num_inner_synapses=30)
CELLS = {
    "ltc": lambda: LTC(NCP19),
    "ltc-midpoint": lambda: LTC(NCP19, integrator="layered_midpoint", unfolds=2),
    "ltc-auto": lambda: LTC(auto_ncp(32, 24, 3)),
    "ltc-reads-command": lambda: _read(LTC(auto_ncp(32, 24, 3), reads="command")),
    "ltc-reads-all": lambda: _read(LTC(fully_connected(32, 9, 2), reads="all")),
    "ltc-random": lambda: LTC(RANDOM),
    "ltc-explicit": lambda: LTC(NCP19, integrator="explicit_euler", unfolds=6),
    "ltc-full": lambda: LTC(fully_connected(32, 9, 2)),
    "stc": lambda: STC(NCP19),
    "stc-midpoint": lambda: STC(NCP19, integrator="layered_midpoint", unfolds=2),
    "lrc": lambda: LRC(NCP19, integrator="exponential_euler", unfolds=2),
    "lrc-asymmetric": lambda: LRC(NCP19, elastance="asymmetric"),
    "lrcu": lambda: LRC(auto_ncp(32, 24, 3), integrator="explicit_euler", unfolds=1),
    "lrcu-reads-all": lambda: _read(
        LRC(fully_connected(32, 9, 2), integrator="explicit_euler", unfolds=1, reads="all")
    ),
    "cfc": lambda: CfC(32, 16, 2),
    "cfc-pure": lambda: CfC(32, 16, 2, mode="pure"),
    "cfc-no-gate": lambda: CfC(32, 16, 2, mode="no_gate", backbone_layers=2, activation="silu"),
    "wired-cfc": lambda: WiredCfC(NCP19),
    "wired-cfc-pure": lambda: WiredCfC(NCP19, mode="pure"),
    "wired-cfc-random": lambda: WiredCfC(RANDOM, mode="no_gate"),
    "ctrnn": lambda: CTRNN(32, 16, 2),
    "neural-ode": lambda: NeuralODE(32, 16, 2),
    "ode-rnn": lambda: ODERNN(32, 16, 2),
    "ctgru": lambda: CTGRU(32, 16, 2),
    "gru": lambda: GRU(32, 16, 2),
    "lstm": lambda: LSTM(32, 16, 2),
    "mixed-ltc": lambda: MixedMemory(LTC(NCP19)),
    "mixed-cfc": lambda: MixedMemory(CfC(32, 16, 2)),
    "mixed-wired-cfc": lambda: MixedMemory(WiredCfC(NCP19, mode="pure")),
    "feedforward": lambda: Feedforward(32, 16, 2),
    "stacked": lambda: StackedFrames(32, 16, 2),
}


def random_ltc(seed: int) -> LTC:
    """Return an LTC over a random wiring, of one of the integrators that can be exported."""
    generator = np.random.default_rng(seed)
    integrators = ("semi_implicit_euler", "exponential_euler", "layered_midpoint")
    integrator = integrators[seed % 3]
    neurons, motors = int(generator.integers(4, 40)), int(generator.integers(1, 4))
    sensory = int(generator.integers(2, 40))
    if integrator == "layered_midpoint":
        wiring = auto_ncp(sensory, neurons + motors + 6, motors, seed=seed)
    else:
        wiring = random_wiring(
            sensory,
            neurons,
            motors,
            num_sensory_synapses=int(generator.integers(1, sensory * neurons + 1)),
            num_inner_synapses=int(generator.integers(0, neurons * neurons + 1)),
            seed=seed,
        )
    return LTC(wiring, integrator=integrator, unfolds=int(generator.integers(1, 8)))
