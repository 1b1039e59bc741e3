"""Fused kernels: the same circuits as `ncp_control.cells`, many times faster.

A kernel computes a whole sequence, forwards and backwards, in one call. Nothing needs to be
configured: `dispatch` takes the kernel where it applies and leaves the rest to the plain torch
code, which stays the reference. `NCP_CONTROL_KERNELS=reference` switches the kernels off;
`NCP_CONTROL_KERNELS=build` compiles them here, where a wheel brought others along.

| file                                      | what it holds                                        |
|-------------------------------------------|------------------------------------------------------|
| `ltc.c` and its `*.h`                     | the LTC circuit for processors; equations at its top |
| `dense.c`, `net.h`, `dense.h`             | what all other cells share                           |
| `cfc.h`, …                                | such a cell: its step and the adjoint                |
| `synaptic.h`, `links.h`, …                | such cells of synapses: STC, LRC, LTC in a memory    |
| `head.c`                                  | a conv head on one frame                             |
| `build.py`                                | compiles all on first use and keeps the library      |
| `prebuilt.py`                             | the libraries of a wheel, one for each level         |
| `native.py`                               | calls them with plain addresses                      |
| `ltc_triton.py`, `synaptic_triton.py`     | circuits of synapses for GPUs, where Triton is       |
| `triton_circuit.py`, `triton_plan.py`     | what they share                                      |
| `triton_scan.py`, `triton_synapses.py`, … | their kernels                                        |
| `dense_triton.py`                         | all other cells for GPUs                             |
| `dense_layout.py`, `dense_gradients.py`   | how they lie in memory, and what their weights get   |
| `triton_dense.py`                         | their kernels                                        |
| `triton_cfc.py`, `triton_gated.py`, …     | a frame of such a cell                               |
| `ltc_op.py`                               | makes either a torch operator with a gradient        |
| `dense_op.py`                             | the same for all other cells                         |
| `eager.py`                                | what both operators owe to torch's transforms        |
| `step.py`                                 | one control step, for a robot between two frames     |
| `dense_step.py`, `spread.h`, `apply.h`    | the same for all other cells                         |
| `head_step.py`                            | a conv head on one frame, for the same robot         |
| `dispatch.py`                             | decides who runs what                                |
"""
