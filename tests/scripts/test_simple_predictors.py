"""Predictors that know no circuit, against what they should say of data that were made so."""

import dataclasses

import numpy as np
import pytest

from ncp_control.contract import ActionContract
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.learning.linear import ridge
from scripts.training.simple_predictors import (
    BEST_CONSTANT,
    LINEAR,
    PERSISTENCE,
    comparison,
    simple_errors,
    simple_predictions,
)


def test_ridge_finds_an_affine_map_and_shrinks_it_as_the_closed_form_says():
    rng = np.random.default_rng(0)
    features = rng.normal(3.0, 2.0, (200, 4))
    answers = features @ rng.normal(size=(4, 2)) + 5.0
    np.testing.assert_allclose(ridge(features, answers, 0.0)(features), answers, atol=1e-8)
    single = features[:, :1]
    scaled = (single - single.mean()) / single.std()
    slope = float(scaled[:, 0] @ answers[:, 0]) / (200 + 100.0)  # Σ z² is the number of samples
    said = ridge(single, answers[:, :1], 100.0)(single)
    np.testing.assert_allclose(said, scaled * slope + answers[:, :1].mean(), atol=1e-8)
    with pytest.raises(ValueError, match="`strength` must be"):
        ridge(single, answers, -1.0)


def test_a_feature_that_never_changes_does_no_harm():
    features = np.column_stack([np.arange(9.0), np.full(9, 7.0)])
    said = ridge(features, features[:, :1], 0.0)(features)
    np.testing.assert_allclose(said[:, 0], np.arange(9), atol=1e-12)


@pytest.fixture
def parts():
    """A bright half of the frame stands where the person steers to."""

    def make(count, seed, starts=(0,)):
        rng = np.random.default_rng(seed)
        steering = rng.uniform(-1, 1, count).astype(np.float32)
        frames = rng.integers(90, 110, (count, 20, 40, 3)).astype(np.float32)
        frames[:, :, :20] += 50 * steering[:, None, None, None]
        return Demonstrations(
            observations=frames.astype(np.uint8),
            actions=steering[:, None],
            dt_s=np.full(count, 0.05, np.float32),
            episode_starts=np.array(starts),
        )

    return make(300, 0), make(60, 1), make(80, 2, starts=(0, 30))


def test_persistence_says_what_was_done_one_frame_earlier_in_the_same_episode(parts):
    _, _, test = parts
    said = simple_predictions(*parts)[PERSISTENCE]
    done = test.actions
    np.testing.assert_array_equal(said[1:30], done[:29])
    np.testing.assert_array_equal(said[31:], done[30:-1])
    assert np.isnan(said[[0, 30]]).all()
    begun = dataclasses.replace(test, meta={"source": {"actions_before": [[0.75], None]}})
    said = simple_predictions(*parts[:2], begun)[PERSISTENCE]
    assert said[0] == 0.75 and np.isnan(said[30])
    error, _ = simple_errors(*parts[:2], begun)[PERSISTENCE]
    wanted = np.delete(done, 30) - np.delete(said, 30)
    assert error == pytest.approx(float(np.mean(wanted**2)))


def test_the_linear_predictor_sees_what_is_linear_in_the_frame(parts):
    said = simple_predictions(*parts)
    wanted = parts[2].actions
    errors = {name: float(np.mean((one - wanted) ** 2)) for name, one in said.items()}
    assert errors[LINEAR] < 0.3 * errors["best constant in hindsight"]
    assert errors["best constant in hindsight"] <= errors["training mean"]
    assert errors["always straight"] == pytest.approx(float(np.mean(wanted**2)))


@pytest.mark.parametrize(
    ("unit", "scale", "header", "root"),
    [
        ("rad", None, "RMSE [rad]", "0.3000"),
        ("rad", (0.1, -2.0), "RMSE [rad]", "0.6000"),  # a command x stands for 0.1 - 2 x rad
        ("", None, "RMSE ", "0.3000"),
        ("", (1.0, 5.0), "RMSE ", "1.5000"),
    ],
)
def test_the_root_of_an_error_is_in_the_unit_of_what_is_predicted(unit, scale, header, root):
    steering = ActionContract(name="steering", unit=unit, scale=scale)
    told = comparison({BEST_CONSTANT: (0.25, 0.0), "cnn": (0.09, 0.5)}, [steering])
    columns = [cell.strip() for cell in told.splitlines()[0].split("|")]
    at = columns.index(header.strip())
    (line,) = [line for line in told.splitlines() if "cnn" in line]
    assert line.split("|")[at].strip() == root and "| 0.09000 " in line


def test_the_root_over_several_numbers_has_no_unit():
    action = [ActionContract(name=name, unit="rad", scale=(0.0, 5.0)) for name in ("a", "b")]
    told = comparison({BEST_CONSTANT: (0.09, 0.0)}, action)
    assert "| RMSE " in told and "| 0.3000 " in told


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["steering", "throttle"], ["always straight", "persistence of the person's own steering"]),
        (["heater"], ["always zero (scaled)", "persistence of the recorded action"]),
    ],
)
def test_only_steering_is_called_so(names, told, parts):
    said = simple_predictions(*parts)
    action = [ActionContract(name=name) for name in names]
    table = comparison(dict.fromkeys(said, (0.25, 0.0)), action)
    rows = [line.split("|")[1].strip() for line in table.splitlines() if "0.25000" in line]
    assert rows == ["training mean", told[0], BEST_CONSTANT, told[1], LINEAR]
