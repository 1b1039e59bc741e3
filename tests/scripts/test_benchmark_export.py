import dataclasses
import json

import numpy as np
import pytest

from envs.driving.metrics import LaneMetrics
from ncp_control import LTC, NCP19, VectorPolicy
from ncp_control.deploy.c.compiled import CController
from ncp_control.kernels.build import BuildError, find_compiler
from scripts.benchmarking.exported import (
    ComparedPilot,
    ControllerCost,
    Drift,
    ExportedDrive,
    costs_table,
    drift_table,
    drives_table,
)
from scripts.benchmarking.parts import _write
from scripts.benchmarking.settings import Benchmark


@pytest.fixture
def controller():
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    policy = VectorPolicy(LTC(NCP19), observation_size=32).eval()
    return policy, CController(policy, flags=("-O1",))


def test_differences_from_the_policy_are_noted_on_the_same_frames(controller):
    policy, compiled = controller
    other = VectorPolicy(LTC(NCP19), observation_size=32).eval()
    observations, dt_s = np.ones((1, 32), np.float32), np.full(1, 0.1, np.float32)
    same, different = ComparedPilot(compiled, policy), ComparedPilot(compiled, other)
    for pilot in (same, different):
        pilot(observations, [], dt_s, np.array([True]))
    assert same.differences[0].max() < 1e-6
    expected = abs(policy.act(observations[0], 0.1) - other.act(observations[0], 0.1))
    np.testing.assert_allclose(different.differences[0], expected, atol=1e-6)


def test_tables_and_files_show_what_was_measured(tmp_path):
    names = [field.name for field in dataclasses.fields(ControllerCost)][1:]
    cost = ControllerCost(name="driver", **{name: 1000 * (i + 1) for i, name in enumerate(names)})
    assert "| driver     | 1,000     | 2,000     |" in costs_table([cost])
    names = [field.name for field in dataclasses.fields(Drift)][1:]
    drift = Drift(name="driver", **{name: 1e-7 * (i + 1) for i, name in enumerate(names)})
    assert "1.0e-07" in drift_table([drift]) and "5.0e-07" in drift_table([drift])
    metrics = LaneMetrics(
        **{field.name: 0.0 for field in dataclasses.fields(LaneMetrics)} | {"driven_km": 12.34}
    )
    drive = ExportedDrive(
        name="driver, C",
        metrics=metrics,
        mean_difference=1e-4,
        high_difference=2e-4,
        largest_difference=5e-4,
    )
    assert "12.3" in drives_table([drive]) and "5.0e-04" in drives_table([drive])
    _write(tmp_path, "export", [], {"drives": [drive]})
    (written,) = json.loads((tmp_path / "export.json").read_text())["drives"]
    assert written["metrics"]["driven_km"] == 12.34


def test_kilometres_are_refused_without_the_part():
    with pytest.raises(ValueError, match="`km` must be left out without the part export"):
        Benchmark(km=3.0)
    with pytest.raises(ValueError, match="`km` must be positive"):
        Benchmark(parts=("export",), km=-1.0)
