"""A policy at a fixed rate on a robot: the loop, and the monitor that makes it fail safe.

| module      | what it holds                                                       |
|-------------|---------------------------------------------------------------------|
| `realtime`  | the loop: read, decide, command, at a fixed rate                    |
| `pilot`     | what is decided in a tick: check, act, limit                        |
| `monitor`   | what is wrong with an input or a state                              |
| `standing`  | that the body stands, so that it may see the same all the time      |
| `levels`    | what the body does about it: drive, degrade, hold, stop             |
| `profile`   | what inputs looked like in good driving, to tell those far from it  |
| `clocks`    | time of this machine, or simulated time                             |
| `ticks`     | what the loop has done, tick by tick, as an `Episode`               |
| `recording` | a drive as an MCAP file, written as it happens                      |
| `playback`  | such a file read back                                               |
| `chunks`    | the parts of such a file, in which frames stay until they are seen  |
| `lossless`  | frames as PNG and back                                              |
| `faults`    | sensors and memory that fail, to try the monitor                    |
| `settings`  | rates and thresholds                                                |
"""
