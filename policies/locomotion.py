"""Recipes of policies for bodies and worlds: what is sensed in, behind a circuit commands out."""

from collections.abc import Sequence

from ncp_control.cells import Cell, CellSizes, make_cell
from ncp_control.contract import Contract
from ncp_control.policy import FramesPolicy, VectorPolicy
from ncp_control.policy.heads import head_width
from ncp_control.records import entries_of, frames_part
from policies.motor_circuits import make_motor_cell


def make_walking_policy(
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
    """Build an untrained policy that moves joints, with actions squashed by tanh, or chooses.

    Args:
        cell: A name in `ncp_control.CELLS`, e.g. "mlp" for two dense layers without memory.
        observation_size: Numbers of an observation.
        num_joints: Numbers of an action, or choices of all of its entries together.
        num_neurons: Neurons of a wired circuit, motor neurons included; units of the other cells.
        frame_s: Control interval [s].
        encoder: Widths of dense layers between observation and cell.
        seed: Seed of the wiring.
        sees_time: Whether LSTM and GRU are told how long a frame lasted.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; `motor_wiring` if None.
        reads: What the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.
        choices: How many choices each entry of the action has, if it has any.

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
    wiring: str | None = None,
    reads: str | None = None,
) -> FramesPolicy | VectorPolicy:
    """Build an untrained policy for what a world shows and takes.

    Args:
        contract: The world's contract.
        cell: A name in `ncp_control.CELLS`.
        num_neurons: Neurons of a wired circuit, motor neurons included; units of the other cells.
        head: Conv head for frames, a name in `ncp_control.policy.heads.HEADS`.
        encoder: Widths of dense layers between numbers and cell.
        seed: Seed of the wiring.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; what suits the cell if None.
        reads: What the outputs are read from, a name in `ncp_control.cells.synaptic.READS`.

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
            wiring=wiring,
            reads=reads,
        )
        return FramesPolicy(
            built, head=head, frame_shape=frames.shape, choices=contract.choices, numbers=size
        )
    return make_walking_policy(
        cell,
        observation_size=size,
        num_joints=num_outputs,
        num_neurons=num_neurons,
        frame_s=contract.frame_s,
        encoder=encoder,
        seed=seed,
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
    wiring: str | None = None,
    reads: str | None = None,
) -> Cell:
    """Build a cell for the features of a head, and perhaps numbers behind them.

    A liquid circuit has the first values of the NCP paper. Those of `motor_circuits`, for numbers
    of unit variance, let so little of a head's features through that a circuit of 24 neurons
    learned nothing in CarRacing-v3.
    """
    sizes = CellSizes(
        num_inputs=num_inputs,
        num_units=num_neurons,
        num_outputs=num_outputs,
        frame_s=frame_s,
        seed=seed,
        wiring=wiring,
        reads=reads,
    )
    return make_cell(name, sizes)
