"""Recipe of policies that walk: numbers in, behind an optional encoder a circuit, torques out."""

from collections.abc import Sequence

from ncp_control.policy import VectorPolicy
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
) -> VectorPolicy:
    """Build an untrained policy that moves joints, with actions squashed by tanh.

    Args:
        cell: A name in `ncp_control.CELLS`, e.g. "mlp" for two dense layers without memory.
        observation_size: Numbers of an observation.
        num_joints: Numbers of an action.
        num_neurons: Neurons of a wired circuit, motor neurons included; units of the other cells.
        frame_s: Control interval [s].
        encoder: Widths of dense layers between observation and cell.
        seed: Seed of the wiring.
        sees_time: Whether LSTM and GRU are told how long a frame lasted.
        wiring: A name in `ncp_control.wiring_rules.WIRINGS`; `motor_wiring` if None.

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
    )
    return VectorPolicy(built, observation_size=observation_size, encoder=encoder, squash="tanh")
