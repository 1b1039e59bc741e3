"""How a job ends when it is told to."""

import signal
from dataclasses import dataclass

import numpy as np
import pytest

from ncp_control.learning.demonstrations import DemonstrationWriter


@dataclass(frozen=True)
class Nothing:
    """No settings."""


@pytest.fixture
def _handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores Ctrl-C
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_job_that_is_stopped_leaves_nothing_half_written(type_command, tmp_path, number, status):
    def record(settings):
        with DemonstrationWriter(tmp_path / "store", (2,), np.float32, 1) as writer:
            writer.append(np.zeros(2, np.float32), [0.0], 0.1)
            signal.raise_signal(number)  # to this thread, so that it arrives at once
            raise AssertionError("it went on")

    assert type_command(record, Nothing) == status
    assert list(tmp_path.iterdir()) == []
