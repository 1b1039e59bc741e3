"""Which numbers of a recording are learned and sensed, and how they are scaled."""

import numpy as np
import pytest

from envs.recorded import LoggedFrame, Quantity, load_recording, load_udacity, register_reader
from envs.recorded.recording import fit_scales
from ncp_control.contract import ActionContract, Contract, DictContract, Entry, VectorContract
from ncp_control.learning.demonstrations import Demonstrations
from ncp_control.records import frames_in, numbers_in

TIMES_MS = range(0, 400, 50)


@pytest.fixture
def log(tmp_path, make_udacity):
    """A log of 8 frames whose speed [mph] rises by 10 and whose throttle falls."""
    folder = make_udacity(tmp_path / "log", TIMES_MS, [0.5, -0.5] * 4, cameras=("center",))
    path = folder / "driving_log.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for i, cells in enumerate(lines):
        cells[1:3] = "", ""
        cells[4], cells[6] = f"{1 - i / 10:.2f}", f"{10 * i}"
    path.write_text("\n".join(map(",".join, lines)))
    return folder


@pytest.fixture
def arm(tmp_path, own_names):
    """A recording of numbers alone: a joint, its command and a temperature with gaps."""
    quantities = [
        Quantity(name="action.elbow", unit="deg"),
        Quantity(name="state.elbow", unit="deg", range=(-180.0, 180.0)),
    ]

    def read(path):
        for i in range(40):
            numbers = {"action.elbow": 100.0 + i, "state.elbow": 90.0 + i, "state.hot": i % 3}
            if i in (10, 11):
                del numbers["state.hot"]
            yield LoggedFrame(row=i, time_s=0.1 * i, numbers=numbers)

    def is_arm(path):
        return path.name == "arm"

    register_reader("arm", recognises=is_arm, read=read, quantities=quantities)
    (tmp_path / "arm").mkdir()
    return load_recording(tmp_path / "arm")


def stored(recording, folder):
    with recording.open_store(folder) as writer:
        recording.write(writer)
    return Demonstrations.open(folder)


def test_throttle_and_speed_come_along_in_si_units(log):
    (episode,) = load_udacity(log).episodes
    np.testing.assert_allclose(episode.numbers["throttle"], 1 - np.arange(8) / 10, atol=1e-6)
    np.testing.assert_allclose(episode.numbers["speed"], 4.4704 * np.arange(8), rtol=1e-6)


def test_several_actions_are_stored_in_the_order_in_which_they_were_named(log, tmp_path):
    recording = load_udacity(log).choose(["throttle", "steering"])
    store = stored(recording, tmp_path / "store")
    np.testing.assert_allclose(store.actions[:, 1], [-0.5, 0.5] * 4)
    np.testing.assert_allclose(store.actions[:, 0], 1 - np.arange(8) / 10, atol=1e-6)
    assert [entry.name for entry in recording.action] == ["throttle", "steering"]
    assert [entry.positive for entry in recording.action] == ["", "left"]


def test_numbers_beside_a_frame_are_records(log, tmp_path):
    recording = load_udacity(log).choose(inputs=["speed", "brake"])
    observation = recording.observation
    assert isinstance(observation, DictContract)
    numbers = observation.parts["numbers"]
    assert (numbers.entries[0].name, numbers.entries[0].unit) == ("speed", "m/s")
    seen = np.array(stored(recording, tmp_path / "store").observations)
    plain = stored(load_udacity(log), tmp_path / "plain").observations
    np.testing.assert_array_equal(frames_in(seen, (78, 200, 3)), plain)
    np.testing.assert_allclose(numbers_in(seen, (78, 200, 3))[:, 0], 4.4704 * np.arange(8))


@pytest.mark.parametrize(
    ("actions", "inputs", "message"),
    [
        (["gas"], [], r"`actions` must be numbers of the recording, which are steering, throttle"),
        ([], ["gas"], r"`inputs` must be numbers .* got 'gas'. Choose some of them"),
        (["speed"], ["speed"], r"`inputs` must not be actions too, got speed"),
    ],
)
def test_what_a_recording_does_not_have_is_refused_by_name(log, actions, inputs, message):
    with pytest.raises(ValueError, match=message):
        load_udacity(log).choose(actions, inputs)


def test_a_first_part_of_a_name_stands_for_all(arm):
    assert arm.choose(["action"], ["state"]).inputs == ("state.elbow", "state.hot")
    with pytest.raises(ValueError, match="`actions` must be named for .* which has no steering"):
        arm.choose()


def test_numbers_alone_are_vectors_of_all_that_is_no_action(arm, tmp_path):
    recording = arm.choose(["action.elbow"], ["state.elbow"])
    assert recording.observation == VectorContract(
        entries=(Entry(name="state.elbow", unit="deg", range=(-180.0, 180.0)),)
    )
    store = stored(recording, tmp_path / "store")
    assert (store.observations.dtype, store.num_episodes) == (np.float32, 1)
    np.testing.assert_allclose(store.observations[:, 0], 90 + np.arange(40))
    assert arm.choose(["action"]).inputs == ("state.elbow", "state.hot")


def test_frames_without_a_chosen_number_are_left_out_and_counted(arm):
    recording = arm.choose(["action"], ["state"])
    assert recording.skipped == {"no state.hot": 2}
    assert len(recording) == 38 == recording.num_listed - recording.num_skipped
    (episode,) = recording.episodes
    assert episode.dt_s(0.1).max() == pytest.approx(0.3), "the time of two missing frames"


def test_missing_frames_end_an_episode_where_they_are_many(arm):
    cuts = arm.cuts.__class__(max_missing_frames=1)
    recording = type(arm)(**{**vars(arm), "cuts": cuts}).choose(["action"], ["state"])
    assert [len(episode) for episode in recording.episodes] == [10, 28]


def test_actions_beyond_one_are_scaled_by_what_trains(arm, tmp_path):
    train, test = arm.choose(["action"], ["state.elbow"]).split(0.5)
    scales = fit_scales([train])
    offset, factor = scales["action.elbow"]
    assert (offset, factor) == pytest.approx((109.5, 1.1 * 9.5))
    scaled = type(test)(**{**vars(test), "scales": scales})
    (entry,) = scaled.action
    assert entry == ActionContract(name="action.elbow", unit="deg", scale=(offset, factor))
    stood_for = offset + factor * stored(scaled, tmp_path / "store").actions[:, 0]
    np.testing.assert_allclose(stood_for, 120 + np.arange(20), rtol=1e-6)


def test_what_leads_to_a_side_keeps_its_zero(tmp_path, own_names):
    def read(path):
        for i in range(9):
            yield LoggedFrame(row=i, time_s=i / 9, numbers={"angle": 30.0 - i, "speed": i})

    quantities = [Quantity(name="angle", unit="deg", positive="left")]
    register_reader("turn", recognises=lambda p: p.name == "turn", read=read, quantities=quantities)
    recording = load_recording(tmp_path / "turn").choose(["angle"])
    assert fit_scales([recording]) == {"angle": pytest.approx((0.0, 33.0))}


def test_a_policy_gets_what_it_senses_and_commands_whatever_it_learned_from(arm):
    contract = Contract(
        observation=VectorContract(entries=(Entry(name="state.elbow", unit="deg"),)),
        action=(ActionContract(name="action.elbow", scale=(100.0, 50.0)),),
        frame_s=0.1,
    )
    recording = arm.chosen_for(contract)
    assert (recording.actions, recording.inputs) == (("action.elbow",), ("state.elbow",))
    assert recording.scales == {"action.elbow": (100.0, 50.0)}


def test_a_policy_that_sees_is_not_shown_numbers_alone(arm, log):
    contract = Contract(
        observation=load_udacity(log).observation,
        action=(ActionContract(name="steering"),),
        frame_s=0.1,
    )
    with pytest.raises(ValueError, match="`log` must hold frames for a policy that sees"):
        arm.chosen_for(contract)


def test_a_number_outside_its_range_is_missing_and_told(tmp_path, make_tub):
    make_tub(tmp_path / "tub", [{"user/throttle": 30.0 if i == 3 else 0.5} for i in range(8)])
    with pytest.warns(UserWarning, match=r"throttle outside \[-1, 1\], and left out: 1"):
        recording = load_recording(tmp_path / "tub")
    assert len(recording.choose()) == 8
    assert recording.choose(["throttle"]).skipped == {"no throttle": 1}


def test_the_numbers_of_a_tub_come_along(tmp_path, make_tub):
    make_tub(tmp_path / "tub", [{"user/throttle": 0.1 * i, "car/speed": i} for i in range(6)])
    recording = load_recording(tmp_path / "tub")
    assert {one.name for one in recording.quantities} == {"steering", "throttle", "car/speed"}
    np.testing.assert_allclose(recording.episodes[0].numbers["car/speed"], range(6))


def test_numbers_in_another_unit_are_refused_with_what_to_do(tmp_path, make_tub):
    make_tub(tmp_path / "tub", [{"user/throttle": 10.0 * i} for i in range(8)])
    told = r"`throttle` must be a fraction of full throttle in \[-1, 1\], got 7 of 8 frames outside"
    with pytest.raises(ValueError, match=told + r".*first: 10.*'throttle \[unit\]'"):
        load_recording(tmp_path / "tub")
