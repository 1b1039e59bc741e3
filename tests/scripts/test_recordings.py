"""Recordings as jobs open them for a policy that is shown them."""

from dataclasses import replace

import numpy as np
import pytest

from scripts.curating.cleaning import clean
from scripts.curating.converting import convert
from scripts.curating.settings import Clean, Convert
from scripts.recordings import opened, recording_for
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


def test_options_count_for_a_drive_and_what_is_marked_is_left_out(driven, tmp_path, capsys):
    contract, log, seen = driven
    options = {"image_size": [40, 100]}
    with opened(log, contract, options) as (store, _):
        assert store.observation_shape == (40, 100, 3)
    marked = tmp_path / "marked.mcap"
    marked.write_bytes(log.read_bytes())
    clean(Clean(log=marked, out_of=("0.2-0.5",)))
    with opened(marked, contract) as (store, _):
        assert 18 <= len(store) <= 22 < len(seen) == 30
    told = f"left out, as marked by data.py clean: {30 - len(store)} frames"
    assert told in capsys.readouterr().out
    convert(Convert(log=marked, out=tmp_path / "set", to="lerobot"))
    assert told in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Skipped 240 of the 360 images:UserWarning")
def test_another_rate_than_the_policys_is_told(driven, udacity_log):
    contract = driven[0]
    recording_for(udacity_log, replace(contract, frame_s=0.1))  # that of the log
    with pytest.warns(UserWarning, match=r"every 100 ms, but the policy .* one every 33\.33 ms"):
        recording_for(udacity_log, contract)


@pytest.mark.filterwarnings("ignore:Skipped 240 of the 360 images:UserWarning")
def test_images_are_cropped_as_the_contract_says(driven, udacity_log):
    contract = driven[0]
    view = replace(contract.observation.view, crop_top=0.4, crop_bottom=0.1)
    frames = replace(contract.observation, view=view, shape=(40, 100, 3))
    cropped = replace(contract, observation=frames, frame_s=0.1)
    recording = recording_for(udacity_log, cropped)
    assert recording.framing.crop == (0.4, 0.1)
    assert recording.observation_shape == (40, 100, 3)
    with pytest.warns(UserWarning, match=r"crop=\[0.2, 0.1\] shows .* than crop=\[0.4, 0.1\]"):
        asked = recording_for(udacity_log, cropped, {"crop": [0.2, 0.1]})
    assert tuple(asked.framing.crop) == (0.2, 0.1)
    recording_for(udacity_log, cropped, {"crop": [0.4, 0.1]})  # the same: no warning
