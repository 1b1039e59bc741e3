"""The functions that all kernels share are right to the last digits, in either precision."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ncp_control.kernels import build

SOURCE = Path(__file__).parent / "vector_errors.c"
FLAGS = [flag for flag in build.FLAGS if flag not in ("-shared", "-fPIC")]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("processor", ["native", "x86-64"])
def test_functions_of_neurons_are_right_to_the_last_digits(bits, processor, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    program = tmp_path / "errors"
    options = [*FLAGS, *build.MATHS_FLAGS, f"-march={processor}", f"-DREAL_BITS={bits}"]
    include = Path(build.__file__).parent
    command = ["cc", *options, "-I", include, SOURCE, "-o", program, "-lm"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if "-march" in compiled.stderr:
        pytest.skip("this compiler does not know the processor")
    assert compiled.returncode == 0, compiled.stderr
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert max(map(float, told.split())) <= 8.0, told
