"""Record traces of Walker2d-v5 at several levels of skill, once, for later use.

A folder of traces holds one array (frames, 17) per file, sorted by level, and traces.json, which
describes how the traces were recorded.
"""

import json
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np

from ncp_control.command_line import use_threads
from ncp_control.files import new_folder
from ncp_control.learning.reinforcement_skills import record_skill_levels
from ncp_control.learning.run import describe_environment

TASK = "Walker2d-v5"
DESCRIPTION = "traces.json"
LEVELS = (100_000, 200_000, 400_000, 800_000)
"""Environment steps of PPO before each recording."""
TRACES_PER_LEVEL, MAX_FRAMES, MIN_FRAMES, SEED = 20, 1000, 100, 0


def find_or_make(folder: Path, make_world: Callable[[], gymnasium.Env] | None = None) -> Path:
    """Return the folder of traces; record them if the folder does not exist.

    Args:
        folder: Folder of the traces.
        make_world: Builds the environment; if None: Walker2d-v5.

    Raises:
        ValueError: If the folder exists, but has no traces.json.
    """
    if folder.is_dir():
        if not (folder / DESCRIPTION).is_file():
            raise ValueError(
                f"`data` must be traces of {TASK} with their {DESCRIPTION}, got {str(folder)!r},"
                " which has none. Name a new folder: they are made there."
            )
        print(f"traces: {folder}, made before")
        return folder
    print(f"traces: {folder}, {LEVELS[-1]} steps of PPO")
    use_threads(1)  # the networks are small
    levels = record_skill_levels(
        make_world or (lambda: gymnasium.make(TASK)),
        LEVELS,
        num_traces=TRACES_PER_LEVEL,
        max_frames=MAX_FRAMES,
        min_frames=MIN_FRAMES,
        seed=SEED,
    )
    use_threads(None)  # for the trainings on the traces
    notes = []
    with new_folder(folder) as temporary:
        for number, level in enumerate(levels):
            for i, trace in enumerate(level.traces):
                np.save(temporary / f"level_{number}_trace_{i:02}.npy", trace)
            notes.append(
                {
                    "steps": level.num_steps,
                    "mean_return": float(np.mean(level.returns)),
                    "frames": [len(trace) for trace in level.traces],
                }
            )
        description = {
            "task": TASK,
            "command": "python scripts/reproduce.py walker2d",
            "policy": "PPO (stable-baselines3), actions sampled",
            "seed": SEED,
            "max_frames": MAX_FRAMES,
            "min_frames": MIN_FRAMES,
            "levels": notes,
            "environment": describe_environment(),
        }
        (temporary / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    return folder
