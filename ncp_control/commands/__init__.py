"""The command `ncp` of the wheel: jobs with a policy that need no clone of the repository.

| module      | what it holds                                                        |
|-------------|----------------------------------------------------------------------|
| `ncp`       | the command itself and the list of its jobs                          |
| `info`      | `ncp info`: description of a policy                                  |
| `export`    | settings of `ncp export` and `scripts/export.py`                     |
| `exporting` | their work: write a policy as C or ONNX                              |
| `run`       | settings of `ncp run` and `scripts/run.py`                           |
| `driving`   | their work: run a policy in real time against a link                 |
| `replaying` | their work with `--replay`: run a policy on a recording              |

Modules with settings import nothing heavy, so that `--help` is fast.
"""
