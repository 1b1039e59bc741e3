"""The command `ncp`, which comes with the wheel: what can be done with a policy without a clone.

| module      | what it holds                                                        |
|-------------|----------------------------------------------------------------------|
| `ncp`       | the command itself: which jobs there are                             |
| `info`      | `ncp info`: what a policy is                                         |
| `export`    | settings of `ncp export` and `scripts/export.py`                     |
| `exporting` | what they do: a policy as C or ONNX                                  |
| `run`       | settings of `ncp run` and `scripts/run.py`                           |
| `driving`   | what they do: a policy in real time against a link                   |
| `replaying` | what they do with `--replay`: a policy along a recording             |

Modules with settings import nothing heavy, so that `--help` comes at once.
"""
