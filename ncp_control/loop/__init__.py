"""The control loop that runs a policy on a robot, and the monitor that makes it fail safe.

| module      | what it holds                                                       |
|-------------|---------------------------------------------------------------------|
| `realtime`  | the loop: read, decide, command, at a fixed rate                    |
| `pilot`     | the decision in each tick: check, act, limit                        |
| `monitor`   | checks of readings and of the policy's state                        |
| `standing`  | detection of a robot at rest, whose readings may stay the same      |
| `levels`    | reaction to faults: drive, degrade, hold, stop                      |
| `profile`   | statistics of inputs in good driving, to detect unusual inputs      |
| `clocks`    | clock of this machine, or simulated clock                           |
| `ticks`     | log of all ticks, as an `Episode`                                   |
| `recording` | recording of a drive as an MCAP file, written during the drive      |
| `playback`  | reading of such a file                                              |
| `chunks`    | chunks of such a file, from which frames are loaded on demand       |
| `lossless`  | conversion of frames to PNG and back                                |
| `faults`    | simulated faults of sensors and memory, to test the monitor         |
| `settings`  | rates and thresholds                                                |
"""
