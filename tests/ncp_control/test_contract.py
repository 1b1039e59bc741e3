"""Contracts: to and from JSON, and what fits what."""

import dataclasses
import json
import math

import numpy as np
import pytest

from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
    View,
)
from ncp_control.contract_parts import describe_action
from ncp_control.policy import load

STEERING = ActionContract(
    name="steering",
    unit="fraction of max_steer_rad",
    positive="left",
    bounds=(-1.03, 0.87),
)
DRIVER = Contract(
    observation=FramesContract(shape=(78, 200, 3), view=View(crop_top=0.375)),
    action=(STEERING,),
    frame_s=1 / 30,
    dt_s=(0.0, 0.5),
    world="LaneKeeping-v0",
    provenance={"command": "python scripts/train.py drive"},
)
POLE = Contract(
    observation=VectorContract(
        entries=(
            Entry(name="cart position", unit="m", range=(-4.8, 4.8)),
            Entry(name="cart velocity", unit="m/s"),
        )
    ),
    action=(ActionContract(name="push", choices=("left", "right"), range=(0, 1)),),
    frame_s=0.02,
)
BOTH = dataclasses.replace(
    DRIVER, observation=DictContract(parts={"camera": DRIVER.observation, "own": POLE.observation})
)


FORECAST = dataclasses.replace(
    POLE, action=(ActionContract(name="level", unit="m", scale=(5.0, 2.0)),)
)


@pytest.mark.parametrize("contract", [DRIVER, POLE, BOTH, FORECAST])
def test_json_and_back_gives_an_equal_contract(contract):
    text = json.dumps(contract.to_json(), allow_nan=False)
    assert Contract.from_json(json.loads(text)) == contract


@pytest.mark.parametrize("scale", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_scale_that_cannot_be_undone_is_refused(scale):
    with pytest.raises(ValueError, match="`scale` of 'level' must be an offset and a factor"):
        ActionContract(name="level", scale=scale)


def test_numbers_of_numpy_become_json_values():
    low, high = np.array([-2.0, 2.0], np.float32)
    action = ActionContract(name="push", scale=(low, high), bounds=(low, high))
    seen = VectorContract(entries=(Entry(name="place", range=(low, high)),))
    times = {"frame_s": np.float32(0.05), "dt_s": (np.float32(0.0), high)}
    contract = Contract(observation=seen, action=(action,), **times)
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_json_has_the_documented_form():
    values = DRIVER.to_json()
    assert values["observation"]["kind"] == "frames"
    assert values["observation"]["view"]["crop_top"] == 0.375
    assert values["action"][0]["bounds"] == [-1.03, 0.87]
    assert values["time"] == {"frame_s": 1 / 30, "dt_s": [0.0, 0.5]}
    assert POLE.to_json()["observation"]["entries"][1]["range"] == [None, None]


@pytest.mark.parametrize("contract", [DRIVER, POLE, BOTH])
def test_a_contract_fits_itself(contract):
    assert contract.misfit(contract) is None


def _with_frames(**changes):
    observation = dataclasses.replace(DRIVER.observation, **changes)
    return dataclasses.replace(DRIVER, observation=observation)


def _with_action(**changes):
    return dataclasses.replace(DRIVER, action=(dataclasses.replace(STEERING, **changes),))


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (_with_frames(shape=(66, 200, 3)), r"frames with shape \[78, 200, 3\], got \[66, 200, 3\]"),
        (_with_frames(colour="BGR"), "colour 'RGB', got 'BGR'"),
        (_with_frames(view=View()), "view"),
        (_with_action(positive="right"), r"positive 'left' in entry 0 \(steering\), got 'right'"),
        (_with_action(unit="rad"), "unit 'fraction of max_steer_rad'"),
        (_with_action(range=(0.0, 1.0)), r"range \[-1.0, 1.0\]"),
        (dataclasses.replace(DRIVER, action=(STEERING, STEERING)), "1 actions, got 2"),
        (dataclasses.replace(DRIVER, frame_s=0.05), "a frame every 0.0333333 s, got one every"),
        (POLE, "kind 'frames', got 'vector'"),
    ],
)
def test_what_does_not_fit_is_named(offered, reason):
    with pytest.raises(ValueError, match=reason):
        DRIVER.check_offer(offered, "a world")


def test_numbers_are_compared_by_name_unit_and_count():
    def offer(*entries):
        return dataclasses.replace(POLE, observation=VectorContract(entries=entries))

    first, second = POLE.observation.entries
    assert "2 numbers, got 1" in POLE.misfit(offer(first))
    assert "name 'cart position' in entry 0" in POLE.misfit(offer(second, first))
    in_feet = dataclasses.replace(first, unit="ft")
    assert "unit 'm' in entry 0 (cart position), got 'ft'" in POLE.misfit(offer(in_feet, second))
    assert POLE.misfit(offer(dataclasses.replace(first, unit=""), second)) is None  # not told


def test_a_missing_part_is_named():
    offered = dataclasses.replace(
        BOTH, observation=DictContract(parts={"camera": DRIVER.observation})
    )
    assert "the parts camera, own in this order, got camera" in BOTH.misfit(offered)
    own, camera = BOTH.observation.parts["own"], DRIVER.observation
    for parts in ({"own": own, "camera": camera}, {"camera": camera, "own": own, "more": own}):
        offered = dataclasses.replace(BOTH, observation=DictContract(parts=parts))
        assert f"in this order, got {', '.join(parts)}" in BOTH.misfit(offered)


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ((-1.0281, 0.8684), ", certified within [-1.03, 0.869]"),
        ((-0.99983, 0.99999), ", nothing certified: its bounds are vacuous"),  # as after a tanh
        ((-6.64, 4.8), ", nothing certified: its bounds are vacuous"),
        (None, ""),
    ],
)
def test_only_bounds_that_exclude_something_are_told_as_certified(bounds, told):
    action = ActionContract(name="steering", bounds=bounds)
    assert describe_action(action) == f"steering in [-1, 1]{told}"
    assert action.certified == (bounds if "within" in told else None)


def test_certified_bounds_and_provenance_need_not_agree():
    assert DRIVER.misfit(_with_action(bounds=None)) is None
    assert DRIVER.misfit(dataclasses.replace(DRIVER, provenance={})) is None


@pytest.mark.parametrize("frame_s", [0.0, -1.0, math.nan, math.inf])
def test_a_frame_interval_must_be_positive(frame_s):
    with pytest.raises(ValueError, match="`frame_s` must be"):
        dataclasses.replace(DRIVER, frame_s=frame_s)


def test_a_range_must_go_from_low_to_high():
    with pytest.raises(ValueError, match=r"`range` of 'x' must go from low to high"):
        Entry(name="x", range=(1.0, -1.0))


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: v.pop("observation"),
        lambda v: v["observation"].update(kind="sound"),
        lambda v: v["observation"].update(shape=[1, 2]),
        lambda v: v["observation"].update(view={"crop": 1}),
        lambda v: v["action"].append(3),
        lambda v: v["action"][0].update(range=["a", 1]),
        lambda v: v["action"][0].update(range=[True, 1]),
        lambda v: v["action"][0].update(colour="red"),
        lambda v: v["time"].update(frame_s="fast"),
        lambda v: v.update(world=[]),
    ],
)
def test_damaged_json_is_one_sentence(damage):
    values = json.loads(json.dumps(DRIVER.to_json()))
    damage(values)
    with pytest.raises(ValueError) as error:
        Contract.from_json(values)
    assert type(error.value) is ValueError and "\n" not in str(error.value)


def test_describe_names_units_and_signs():
    text = DRIVER.describe()
    for words in ("78 x 200 x 3", "RGB", "steering in [-1, 1]", "positive is left", "33.33 ms"):
        assert words in text
    assert "a frame every 3600 s" in dataclasses.replace(DRIVER, frame_s=3600.0).describe()
    assert "cart position [m]" in POLE.describe() and "one of left, right" in POLE.describe()


@pytest.mark.parametrize(
    ("rate_hz", "is_other"), [(29.97, False), (27.0, False), (25.0, True), (36.0, True)]
)
def test_a_rate_like_the_policys_is_not_told_and_another_one_is(rate_hz, is_other):
    told = DRIVER.other_rate(1 / rate_hz)
    assert (told is not None) == is_other
    if told is not None:
        every = f"every {1e3 / rate_hz:.4g} ms, but the policy was made for one every 33.33 ms."
        assert told.startswith(every)


def test_a_contract_that_commands_nothing_is_refused():
    with pytest.raises(ValueError, match="`action` must have at least one entry, got none"):
        dataclasses.replace(DRIVER, action=())


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("drive-ncp", {"frame_s": 5.0}, "circuit's frame interval of 0.0333333 s, got 5 s"),
        ("drive-ncp", {"observation": VectorContract(entries=(Entry(name="x"),))},
         r"observations of shape \(78, 200, 3\), .* got \(1,\)"),
        ("walker2d-ltc", {"observation": VectorContract(entries=(Entry(name="x"),))},
         r"observations of shape \(17,\), .* got \(1,\)"),
    ],
)  # fmt: skip
def test_a_contract_of_another_size_or_rate_is_refused(name, change, match):
    policy = load(name)
    known = policy.contract
    with pytest.raises(ValueError, match=match):
        policy.contract = dataclasses.replace(known, **change)
    with pytest.raises(TypeError, match="`contract` must be a Contract, got 'str'"):
        policy.contract = "walker2d"
    assert policy.contract is known


def test_a_saved_policy_whose_contract_tells_another_rate_is_loaded_with_a_warning(tmp_path):
    """Policies of logs were saved so, where the training part was sampled differently."""
    load("walker2d-ltc").save(tmp_path / "policy")
    path = tmp_path / "policy" / "config.json"
    config = json.loads(path.read_text())
    config["contract"]["time"]["frame_s"] = 0.01
    path.write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"for a frame every 0.008 s, its contract tells 0.01 s"):
        policy = load(tmp_path / "policy")
    assert policy.contract.frame_s == 0.01


def test_a_contract_of_another_number_of_actions_is_refused():
    policy = load("drive-ncp")
    assert policy.contract is not None
    throttle = ActionContract(name="throttle")
    with pytest.raises(ValueError, match="an entry for each of the policy's 1 actions, got 2"):
        policy.contract = dataclasses.replace(
            policy.contract, action=(*policy.contract.action, throttle)
        )
