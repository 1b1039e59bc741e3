"""Export a saved policy for a robot.

    python scripts/export.py policies/pretrained/drive-ncp --to c
    python scripts/export.py drive-ncp --to c --head-weights int8 --out firmware
    python scripts/export.py drive-ncp --to onnx

C: `controller.h` and `controller.c`, which need no heap and include only stdint.h and float.h, and
a test program. If there is a C compiler, the test runs at once.

ONNX: `controller.onnx`, with observation, state and elapsed time as inputs, action and next state
as outputs, and the contract in its properties. It is compared with the policy in ONNX Runtime
before it is written.
"""

from ncp_control.command_line import run_job
from ncp_control.commands.export import Export, export

if __name__ == "__main__":
    run_job(export, Export, __doc__)
