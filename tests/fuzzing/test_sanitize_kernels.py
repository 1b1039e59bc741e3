"""A bounded run of the kernels' sanitizers; `sanitize_kernels.py --count 1000` is the campaign."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzzing.sanitize_kernels import SANITIZERS, find_runtime

CAMPAIGN = Path(__file__).with_name("sanitize_kernels.py")


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_random_shapes_of_every_kernel(sanitizer):
    if sys.platform != "linux" or find_runtime(sanitizer) is None:
        pytest.skip(f"the compiler has no {SANITIZERS[sanitizer][0]}")
    command = [sys.executable, str(CAMPAIGN), "--sanitizer", sanitizer, "--count", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
