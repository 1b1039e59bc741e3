"""Recordings as jobs open them for a policy that is shown them."""

import numpy as np
import pytest

from scripts.curating.cleaning import clean
from scripts.curating.settings import Clean
from scripts.recordings import opened
from tests.scripts.recorded_drives import record_drive


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """Drive for a second; return the policy's contract, the recording, and what was seen."""
    log = tmp_path_factory.mktemp("drive") / "drive.mcap"
    policy, seen = record_drive("drive-ncp", log, 1.0)
    return policy.contract, log, seen


def test_a_drive_is_opened_as_it_was_sensed(driven):
    contract, log, seen = driven
    with opened(log, contract) as (store, driver):
        np.testing.assert_array_equal(store.observations, seen)
        assert driver == "recorded"


def test_options_count_for_a_drive_and_what_is_marked_is_left_out(driven, tmp_path):
    contract, log, seen = driven
    options = {"image_size": [40, 100]}
    with opened(log, contract, options) as (store, _):
        assert store.observation_shape == (40, 100, 3)
    marked = tmp_path / "marked.mcap"
    marked.write_bytes(log.read_bytes())
    clean(Clean(log=marked, out_of=("0.2-0.5",)))
    with opened(marked, contract) as (store, _):
        assert 18 <= len(store) <= 22 < len(seen) == 30
