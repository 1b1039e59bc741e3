import math

import numpy as np
import pytest
import torch

from ncp_control import auto_ncp
from ncp_control.cells import GRU, LSTM, LTC, CfC, Feedforward
from ncp_control.learning.divergence import first_not_finite, has_diverged


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"a": torch.ones(2), "b": [1, 2.0, "nan", None, True]}, None),
        ({"a": {"b": torch.tensor([1.0, torch.inf])}}, "a.b"),
        ({"a": (1, {"b": -math.inf})}, "a.1.b"),
        ({"a": np.array([1.0, np.nan])}, "a"),
        ({"a": np.float64("inf")}, "a"),
        ({"a": np.array(["inf"]), "b": torch.tensor([True]), 3: torch.tensor([7])}, None),
        ({3: torch.tensor(math.nan)}, "3"),
    ],
)
def test_the_first_entry_that_is_not_finite_is_named(values, name):
    assert first_not_finite(values) == name


@pytest.mark.parametrize("kind", [LTC, CfC, GRU, LSTM, Feedforward])
def test_weights_and_buffers_count(kind):
    cell = LTC(auto_ncp(2, 8, 1)) if kind is LTC else kind(2, 4, 1)
    assert not has_diverged(cell)
    state = cell.state_dict()
    for values in filter(torch.is_floating_point, state.values()):
        flat = values.view(-1)
        kept = flat[-1].clone()
        flat[-1] = math.nan
        assert has_diverged(cell)
        flat[-1] = kept
    assert not has_diverged(cell)
