"""Disturbances between a policy and its environment: their names in jobs and tables."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncp_control.worlds import World

DISTURBANCE_OF = {
    "sensor_noise_std": "noise",
    "drop_probability": "drop",
    "overwrite_probability": "overwrite",
    "delay_steps": "delay",
}
"""Name of the disturbance for each setting of a training job."""
DISTURBANCES = tuple(DISTURBANCE_OF.values())
"""Names of disturbances, in the order of the columns of tables."""


def check_disturbance(world: "World", name: str, setting: str, strength: float) -> None:
    """Refuse a disturbance that a world does not have.

    Args:
        world: The world.
        name: Name of the disturbance.
        setting: Setting of its strength.
        strength: The strength; 0 is never refused.

    Raises:
        ValueError: If the world does not have it.
    """
    known = {one.name for one in world.disturbances}
    if strength and name not in known:
        others = ", ".join(one for one in DISTURBANCES if one in known)
        advice = f"That world has {others or 'none of them'}."
        if setting == "drop" and "lost" in known:
            advice = "Evaluate lost frames there with --condition lost."
        raise ValueError(f"`{setting}` must be 0 in {world.name!r}, got {strength!r}. {advice}")
