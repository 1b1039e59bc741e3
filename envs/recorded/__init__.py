"""Recorded driving, of a person or of a policy, as demonstrations.

| format                    | loader           | recognised by     | image              |
|---------------------------|------------------|-------------------|--------------------|
| Udacity driving simulator | `load_udacity`   | `driving_log.csv` | three cameras      |
| Donkeycar tub, version 2  | `load_donkeycar` | `manifest.json`   | one camera         |
| Donkeycar tub, version 1  | `load_donkeycar` | `record_N.json`   | one camera         |
| drive of `run.py --record`| `load_drive`     | the suffix `.mcap`| what was seen      |
| ROS 2 bag                 | `load_bag`       | `metadata.yaml`   | one camera         |
| your own                  | `register_reader`| what you say      | any cameras        |

`load_recording` tells them apart. A `Recording` is light: it knows where the images are, and reads
them when it writes itself into a `DemonstrationWriter`:

    train, test = load_recording("my_drive").split(0.8)
    with DemonstrationWriter("train", train.observation_shape) as writer:
        train.write(writer)

Steering is a fraction of the maximum angle in [-1, 1] and **left is positive**, as in the
`LaneKeeping` world; the simulator and the tubs log the opposite sign and are converted.

Logs are rarely whole. Lines, records and images that cannot be used are left out, and one warning
says how many and why; `Recording.skipped` has the counts. A recording is refused if nothing of it
can be used, or if what is left would be wrong.
"""

from envs.recorded.assembly import LoggedImage
from envs.recorded.bag import is_bag
from envs.recorded.donkeycar import load_donkeycar
from envs.recorded.drives import drive_as_demonstrations, load_drive
from envs.recorded.readers import READERS, load_recording, register_reader
from envs.recorded.recording import Recording, Stretch
from envs.recorded.ros2 import load_bag
from envs.recorded.udacity import load_udacity

__all__ = [
    "READERS",
    "LoggedImage",
    "Recording",
    "Stretch",
    "drive_as_demonstrations",
    "is_bag",
    "load_bag",
    "load_donkeycar",
    "load_drive",
    "load_recording",
    "load_udacity",
    "register_reader",
]
