"""What can be put between a policy and its world, by the names that jobs and tables have for it."""

DISTURBANCE_OF = {
    "sensor_noise_std": "noise",
    "drop_probability": "drop",
    "overwrite_probability": "overwrite",
    "delay_steps": "delay",
}
"""Disturbance that each setting of a training puts there."""
DISTURBANCES = tuple(DISTURBANCE_OF.values())
"""Names of disturbances, in the order in which tables have them."""
