"""Untrained policies for the observations and actions of any contract."""

from collections.abc import Sequence

from ncp_control.cells import Cell, CellSizes, make_cell
from ncp_control.contract import Contract
from ncp_control.policy import FramesPolicy, VectorPolicy
from ncp_control.policy.heads import head_width
from ncp_control.records import entries_of, frames_part
from policies.motor_circuits import make_motor_cell


def make_vector_policy(
    cell: str,
    *,
    observation_size: int,
    num_joints: int,
    num_neurons: int,
    frame_s: float,
    encoder: Sequence[int] = (),
    seed: int = 0,
    sees_time: bool = False,
    wiring: str | None = None,
    reads: str | None = None,
    choices: Sequence[int] = (),
) -> VectorPolicy:
    """Build an untrained policy without frames; continuous actions are squashed by tanh.

    Args:
        cell: A name in `ncp_control.CELLS`, e.g. "mlp" for two dense layers without memory.
        observation_size: Size of an observation.
        num_joints: Size of a continuous action, or number of choices of all entries together.
        num_neurons: Number of neurons of a wired circuit, including its motor neurons; of units,
            for other cells.
        frame_s: Control interval [s].
        encoder: Widths of the dense layers between observation and cell.
        seed: Seed of the wiring.
        sees_time: Whether LSTM and GRU get the elapsed time as an input.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; if None: `motor_wiring`.
        reads: Neurons that the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.
        choices: Number of choices of each entry of a discrete action; empty for continuous ones.

    Raises:
        ValueError: If a name is unknown or a size does not fit.
    """
    width = (observation_size, *encoder)[-1]
    built = make_motor_cell(
        cell,
        width,
        num_neurons,
        num_joints,
        frame_s=frame_s,
        seed=seed,
        sees_time=sees_time,
        wiring=wiring,
        reads=reads,
    )
    return VectorPolicy(
        built,
        observation_size=observation_size,
        encoder=encoder,
        squash="clip" if choices else "tanh",
        choices=choices,
    )


def make_policy_for(
    contract: Contract,
    cell: str,
    *,
    num_neurons: int,
    head: str = "light",
    encoder: Sequence[int] = (),
    seed: int = 0,
    sees_time: bool = False,
    wiring: str | None = None,
    reads: str | None = None,
) -> FramesPolicy | VectorPolicy:
    """Build an untrained policy for the observations and actions of a contract.

    Args:
        contract: Contract of the environment.
        cell: A name in `ncp_control.CELLS`.
        num_neurons: Number of neurons of a wired circuit, including its motor neurons; of units,
            for other cells.
        head: Conv head for frames, a name in `ncp_control.policy.heads.HEADS`.
        encoder: Widths of the dense layers between observation and cell, if there are no frames.
        seed: Seed of the wiring.
        sees_time: Whether LSTM and GRU get the elapsed time as an input.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; if None: the default of the cell.
        reads: Neurons that the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.

    Raises:
        ValueError: If a name is unknown or a size does not fit.
    """
    num_outputs, frames = len(contract.output_names), frames_part(contract.observation)
    size = len(entries_of(contract.observation))
    if frames is not None:
        built = make_frames_cell(
            cell,
            head_width(head, frames.shape) + size,
            num_neurons,
            num_outputs,
            frame_s=contract.frame_s,
            seed=seed,
            sees_time=sees_time,
            wiring=wiring,
            reads=reads,
        )
        return FramesPolicy(
            built, head=head, frame_shape=frames.shape, choices=contract.choices, numbers=size
        )
    return make_vector_policy(
        cell,
        observation_size=size,
        num_joints=num_outputs,
        num_neurons=num_neurons,
        frame_s=contract.frame_s,
        encoder=encoder,
        seed=seed,
        sees_time=sees_time,
        wiring=wiring,
        reads=reads,
        choices=contract.choices,
    )


def make_frames_cell(
    name: str,
    num_inputs: int,
    num_neurons: int,
    num_outputs: int,
    *,
    frame_s: float,
    seed: int = 0,
    sees_time: bool = False,
    wiring: str | None = None,
    reads: str | None = None,
) -> Cell:
    """Build a cell for the features of a conv head, optionally followed by numbers.

    A liquid circuit has the initial values of the NCP paper. Those of `motor_circuits` are for
    inputs of unit variance; they pass so little of the features that a circuit of 24 neurons
    learned nothing in CarRacing-v3.
    """
    sizes = CellSizes(
        num_inputs=num_inputs,
        num_units=num_neurons,
        num_outputs=num_outputs,
        frame_s=frame_s,
        seed=seed,
        sees_time=sees_time,
        wiring=wiring,
        reads=reads,
    )
    return make_cell(name, sizes)
