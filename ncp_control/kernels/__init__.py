"""Fused kernels: the same circuits as `ncp_control.cells`, many times faster.

A kernel computes a whole sequence, forward or backward, in one call. Nothing needs to be
configured: `dispatch` uses a kernel where one applies, and the plain torch code (the reference)
otherwise. `NCP_CONTROL_KERNELS=reference` switches the kernels off; `NCP_CONTROL_KERNELS=build`
compiles them on this machine, instead of using those of the wheel.

| file                                      | what it holds                                        |
|-------------------------------------------|------------------------------------------------------|
| `ltc.c` and its `*.h`                     | the LTC circuit for CPUs; equations at its top       |
| `dense.c`, `net.h`, `dense.h`             | shared code of all other cells for CPUs              |
| `cfc.h`, …                                | one of these cells: its step and the adjoint         |
| `synaptic.h`, `links.h`, …                | cells with synapses: STC, LRC, LTC in a memory       |
| `head.c`                                  | a conv head on one frame                             |
| `build.py`                                | compiles the C files on first use, caches the result |
| `prebuilt.py`                             | compiled libraries of a wheel, by processor level    |
| `native.py`                               | calls the C functions with plain addresses           |
| `ltc_triton.py`, `synaptic_triton.py`     | circuits of synapses for GPUs (needs Triton)         |
| `triton_circuit.py`, `triton_plan.py`     | shared code of these circuits                        |
| `triton_scan.py`, `triton_synapses.py`, … | their kernels                                        |
| `dense_triton.py`                         | all other cells for GPUs                             |
| `dense_layout.py`, `dense_gradients.py`   | their memory layout, and gradients of their weights  |
| `triton_dense.py`                         | their kernels                                        |
| `triton_cfc.py`, `triton_gated.py`, …     | one frame of such a cell                             |
| `ltc_op.py`                               | the LTC kernel as a torch operator with a gradient   |
| `dense_op.py`                             | the same for all other cells                         |
| `eager.py`                                | support of torch's transforms for both operators     |
| `step.py`                                 | one control step of an LTC, for use on a robot       |
| `dense_step.py`, `spread.h`, `apply.h`    | the same for all other cells                         |
| `head_step.py`                            | a conv head on one frame, for use on a robot         |
| `dispatch.py`                             | chooses the kernel or the reference                  |
"""
