"""Fused kernels: the same circuits as `ncp_control.cells`, many times faster.

A kernel computes a whole sequence, forwards and backwards, in one call. Nothing needs to be
configured: `dispatch` takes the kernel where it applies and leaves the rest to the plain torch
code, which stays the reference. `NCP_CONTROL_KERNELS=reference` switches the kernels off.

| file                                   | what it holds                                          |
|----------------------------------------|--------------------------------------------------------|
| `ltc.c`, `*.h`                         | the LTC circuit for processors; equations at its top   |
| `head.c`                               | a conv head on one frame                               |
| `build.py`                             | compiles both on first use and keeps the library       |
| `native.py`                            | calls them with plain addresses                        |
| `ltc_triton.py`                        | the LTC circuit for GPUs, where Triton is installed    |
| `triton_synapses.py`, `triton_scan.py` | its kernels                                            |
| `ltc_op.py`                            | makes either a torch operator with a gradient          |
| `step.py`                              | one control step, for a robot between two frames       |
| `head_step.py`                         | a conv head on one frame, for the same robot           |
| `dispatch.py`                          | decides who runs what                                  |
"""
