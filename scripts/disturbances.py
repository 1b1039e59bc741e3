"""Disturbances between a policy and its environment: their names in jobs and tables."""

DISTURBANCE_OF = {
    "sensor_noise_std": "noise",
    "drop_probability": "drop",
    "overwrite_probability": "overwrite",
    "delay_steps": "delay",
}
"""Name of the disturbance for each setting of a training job."""
DISTURBANCES = tuple(DISTURBANCE_OF.values())
"""Names of disturbances, in the order of the columns of tables."""
