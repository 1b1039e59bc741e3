"""Read your own log format: a folder of frames with a table of times and angles.

    cp examples/own_log.py . && python own_log.py           writes a small log, drive/
    python scripts/train.py recorded --log drive --import own_log
    python scripts/evaluate.py RUN/policy --log drive --log-share 0.2 --import own_log

Lines with a missing or damaged image are left out and counted; a gap starts a new episode.
"""

import csv
import math
from pathlib import Path

import cv2
import numpy as np

from envs.recorded import LoggedFrame, register_reader

TABLE = "angles.csv"
MAX_ANGLE_DEG = 25.0


def is_ours(path):
    """Return whether a path given to `--log` is one of our logs."""
    return (path / TABLE).is_file()


def read(folder):
    """Yield the frame of each line: time [ms], angle [degrees, right positive], image file."""
    with (folder / TABLE).open(newline="") as file:
        for row, line in enumerate(csv.DictReader(file)):
            yield LoggedFrame(
                row=row,
                path=folder / line["file"],
                # left is positive here
                numbers={"steering": -float(line["angle_deg"]) / MAX_ANGLE_DEG},
                time_s=float(line["time_ms"]) / 1000.0,
            )


register_reader("angles", recognises=is_ours, read=read)


def write_one(folder, num_frames=120):
    """Write a log of a car that follows a bright stripe from side to side."""
    folder.mkdir(exist_ok=True)
    lines = ["time_ms,angle_deg,file"]
    for i in range(num_frames):
        sway = math.sin(i / 8)
        image = np.random.default_rng(i).integers(60, 90, (120, 160, 3), np.uint8)
        cv2.line(image, (80, 119), (80 + int(60 * sway), 40), (255, 255, 255), 12)
        cv2.imwrite(str(folder / f"{i:04}.png"), image)
        lines.append(f"{50 * i},{MAX_ANGLE_DEG * sway:.2f},{i:04}.png")
    (folder / TABLE).write_text("\n".join(lines))


if __name__ == "__main__":
    write_one(Path("drive"))
