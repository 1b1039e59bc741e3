"""A bounded run of the readers' fuzzer; `fuzz_readers.py --count 20000` is the whole campaign."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("fuzz_readers.py")


def _assert_no_fault(*options: str) -> None:
    command = [sys.executable, str(FUZZER), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_damaged_files_are_read_or_refused_in_one_sentence():
    _assert_no_fault("--count", "500")


@pytest.mark.slow
def test_many_damaged_files_are_read_or_refused_in_one_sentence():
    _assert_no_fault("--count", "5000", "--first", "1000")
