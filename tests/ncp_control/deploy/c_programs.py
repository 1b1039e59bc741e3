"""A small policy, and its C code compiled and run with the test program."""

import subprocess

from ncp_control import LTC, NCP19, VectorPolicy
from ncp_control.deploy.c.compiled import SAME_BITS, WARNINGS
from ncp_control.kernels.build import find_compiler


def small_walker(**settings):
    return VectorPolicy(LTC(NCP19), observation_size=5, encoder=(7, 32), squash="tanh", **settings)


def run(controller, folder, *flags):
    """Compile a controller with its test program in a folder, run it, return what it says."""
    controller.write(folder)
    sources = [str(folder / f"{controller.name}{end}.c") for end in ("", "_test")]
    program = str(folder / "program")
    command = [*find_compiler(), *WARNINGS, *SAME_BITS, "-O1", *flags, *sources, "-o", program]
    subprocess.run(command, check=True)
    return subprocess.run([program], capture_output=True, text=True, check=False)
