"""Load recordings of people, robots and policies as demonstrations.

| format                    | loader           | recognised by     | frames             |
|---------------------------|------------------|-------------------|--------------------|
| Udacity driving simulator | `load_udacity`   | `driving_log.csv` | three cameras      |
| Donkeycar tub, version 2  | `load_donkeycar` | `manifest.json`   | one camera         |
| Donkeycar tub, version 1  | `load_donkeycar` | `record_N.json`   | one camera         |
| drive of `run.py --record`| `load_drive`     | the suffix `.mcap`| what was seen      |
| ROS 2 bag                 | `load_bag`       | `metadata.yaml`   | one camera or none |
| LeRobotDataset v2.1, v3   | `load_lerobot`   | `meta`, `data`    | one of the cameras |
| Minari data set           | `load_minari`    | `main_data.hdf5`  | one of the cameras |
| comma2k19 segment         | `load_comma`     | `processed_log`   | one camera or none |
| table of your own         | `load_table`     | `frames.csv`      | any or none        |
| Udacity challenge 2       | `load_challenge` | `steering.csv`    | one camera         |
| your own                  | `register_reader`| what you say      | any cameras        |

`load_recording` detects the format, `load_recordings` loads several recordings. A `Recording` holds
only the locations of the images; it reads them when it is written to a `DemonstrationWriter`:

    train, test = load_recording("my_drive").choose(["steering"], ["speed"]).split(0.8)
    with train.open_store(Path("train")) as writer:
        train.write(writer)

A recording has named numbers (`quantities`): some are actions, some are inputs. `write_lerobot`,
`write_minari` and `write_tub` write it in another format without loss. docs/recordings.md is the
guide for users.

Steering is a fraction of the maximum angle in [-1, 1] unless it has another unit, and **left is
positive**, as in the `LaneKeeping` environment; simulator and tubs log the opposite sign and are
converted.

Logs are rarely complete. Lines, records and images that cannot be used are left out, and one
warning says how many and why; `Recording.skipped` has the counts. A recording is refused if no
frame of it can be used, or if the rest would be wrong.
"""

from envs.recorded.assembly import LoggedFrame
from envs.recorded.bag import is_bag
from envs.recorded.comma import load_comma
from envs.recorded.donkeycar import load_donkeycar
from envs.recorded.drives import drive_as_demonstrations, load_drive
from envs.recorded.lerobot import load_lerobot
from envs.recorded.minari import load_minari
from envs.recorded.quantities import Quantity
from envs.recorded.readers import READERS, load_recording, register_reader
from envs.recorded.recording import Recording
from envs.recorded.ros2 import load_bag
from envs.recorded.several import load_recordings
from envs.recorded.stretches import Cuts, Stretch
from envs.recorded.table import load_table
from envs.recorded.udacity import load_udacity
from envs.recorded.udacity_challenge import load_challenge
from envs.recorded.write_lerobot import write_lerobot
from envs.recorded.write_minari import write_minari
from envs.recorded.write_tub import write_tub

__all__ = [
    "READERS",
    "Cuts",
    "LoggedFrame",
    "Quantity",
    "Recording",
    "Stretch",
    "drive_as_demonstrations",
    "is_bag",
    "load_bag",
    "load_challenge",
    "load_comma",
    "load_donkeycar",
    "load_drive",
    "load_lerobot",
    "load_minari",
    "load_recording",
    "load_recordings",
    "load_table",
    "load_udacity",
    "register_reader",
    "write_lerobot",
    "write_minari",
    "write_tub",
]
