import re

import numpy as np
import pytest
import torch

from ncp_control import LSTM, LTC, NCP19, STC, CfC, Circuit, Policy, VectorPolicy, WiredCfC


@pytest.fixture
def policy(flat_policy):
    return flat_policy(Circuit(LTC(NCP19))).eval()


def test_saved_and_loaded_policies_are_equal_to_the_bit(policy, tmp_path):
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert loaded.circuit.cell.wiring == NCP19
    observation = torch.randn(2, 5, 32)
    assert torch.equal(loaded(observation)[0], policy(observation)[0])
    assert sorted(p.name for p in (tmp_path / "policy").iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]


def test_a_policy_comes_back_as_precise_as_it_was(policy, tmp_path):
    policy.double().save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert next(loaded.parameters()).dtype == torch.float64
    observation = torch.randn(2, 5, 32).double()
    assert torch.equal(loaded(observation)[0], policy(observation)[0])


def test_saving_to_a_link_fills_the_folder_behind_it(policy, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    policy.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "config.json").is_file()


def test_act_step_by_step_equals_the_sequence(policy):
    observation = torch.randn(1, 6, 32)
    together = policy(observation)[0].clamp(-1, 1)[0].detach().numpy()
    for _ in range(2):  # the second round only agrees if reset forgets the first
        policy.reset()
        single = np.stack([policy.act(frame.numpy()) for frame in observation[0]])
        np.testing.assert_allclose(single, together, rtol=1e-5, atol=1e-6)


def test_act_follows_the_weights_and_the_dtype(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    before = policy.act(frame)
    with torch.no_grad():
        policy.circuit.cell.output_offset.add_(0.25)
    policy.reset()
    np.testing.assert_allclose(policy.act(frame), before + 0.25, atol=1e-6)
    policy.double()
    again = policy.act(frame.astype(np.float64))
    assert again.dtype == np.float64
    np.testing.assert_allclose(again, before + 0.25, atol=1e-5)


def test_act_follows_an_exchanged_cell(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    policy.act(frame)
    for cell in (LTC(NCP19), CfC(32, 5, 1), LTC(NCP19, integrator="rk4")):
        policy.circuit.cell = cell
        policy.reset()
        expected = policy(torch.from_numpy(frame)[None, None])[0].clamp(-1, 1).detach()[0, 0]
        np.testing.assert_allclose(policy.act(frame), expected, rtol=1e-5, atol=1e-6)


CELLS = [lambda: LTC(NCP19), lambda: CfC(32, 5, 1), lambda: LSTM(32, 5, 1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -4e38])
@pytest.mark.parametrize("make_cell", CELLS)
def test_a_frame_that_is_not_finite_is_refused_and_forgotten(flat_policy, make_cell, value):
    policy = flat_policy(Circuit(make_cell()))
    first, second = np.random.default_rng(0).standard_normal((2, 32))  # float64, as MuJoCo gives
    actions = [policy.act(first), policy.act(second)]
    policy.reset()
    assert policy.act(first) == actions[0]
    spoilt = second.copy()
    spoilt[[3, 5]] = value
    with pytest.raises(
        ValueError,
        match=rf"`observation` must hold finite .* got {re.escape(str(value))} at entry 3\.",
    ):
        policy.act(spoilt)
    assert policy.act(second) == actions[1]


def test_the_largest_number_of_the_policys_type_is_taken(policy):
    largest = float(np.finfo(np.float32).max)
    policy.act(np.full(32, -largest))
    with pytest.raises(ValueError, match=r"of at most 3\.4e\+38, got"):
        policy.act(np.full(32, np.nextafter(largest, np.inf)))
    with pytest.raises(ValueError, match=r"got inf at entry 1\."):
        policy.act(np.array([largest, np.inf] * 16))
    policy.double().act(np.full(32, 2 * largest))


@pytest.mark.parametrize("limit", [-1.0, 1.0])
def test_an_action_is_clipped(policy, limit):
    policy.circuit.cell.output_offset.data.fill_(7.0 * limit)
    assert policy.act(np.zeros(32)) == limit


@pytest.mark.parametrize(
    "dt_s", [True, np.True_, np.nan, -1e-9, np.inf, "0.1", np.array([0.1]), 1e39]
)
@pytest.mark.parametrize("make_cell", CELLS)
def test_an_impossible_time_is_refused_and_the_memory_stays(flat_policy, make_cell, dt_s):
    policy = flat_policy(Circuit(make_cell()))
    first, second = np.random.default_rng(0).standard_normal((2, 32))
    actions = [policy.act(first, 0.1), policy.act(second, 0.0)]
    policy.reset()
    policy.act(first, np.float32(0.1))
    with pytest.raises(ValueError, match="`dt_s` must be a finite time >= 0 in seconds, got"):
        policy.act(second, dt_s)
    np.testing.assert_allclose(policy.act(second, 0), actions[1], atol=1e-6)


@pytest.mark.parametrize("dtype", [bool, complex, object, str, np.longdouble])
def test_readings_of_another_type_are_refused(policy, dtype):
    with pytest.raises(ValueError, match="`observation` must hold whole or real numbers .* got"):
        policy.act(np.zeros(32, dtype))


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">f8", ">i4", "u2", "u8", "b"])
def test_readings_may_be_of_any_real_type_and_read_only(policy, dtype):
    reading = np.arange(32).astype(dtype)
    reading.setflags(write=False)  # torch warns of such an array, and warnings are errors here
    expected = policy.act(np.arange(32, dtype=np.float32))
    policy.reset()
    np.testing.assert_array_equal(policy.act(reading[::-1][::-1]), expected)


def test_a_reading_of_one_number_needs_no_axis(flat_policy):
    policy = flat_policy(Circuit(LSTM(1, 4, 2)))
    expected = policy.act(np.array([0.5]))
    policy.reset()
    np.testing.assert_array_equal(policy.act(np.float64(0.5)), expected)


def test_observations_of_several_worlds_name_the_one_that_is_not_finite(policy):
    observations = np.zeros((3, 2, 4))
    observations[2, 1, 3] = np.inf
    with pytest.raises(ValueError, match=r"got inf at entry 1, 3 of observation 2\. Leave the"):
        policy.read_observations(observations)


def test_features_that_are_not_finite_are_refused(flat_policy, monkeypatch):
    policy = flat_policy(Circuit(LTC(NCP19)))
    frame = np.ones(32)
    expected = [policy.act(frame), policy.act(frame)]
    policy.reset()
    policy.act(frame)
    with monkeypatch.context() as patch:
        patch.setattr(policy, "perceive", lambda observation: observation / 0.0)
        with pytest.raises(ValueError, match="`observation` must give finite features, got NaN"):
            policy.act(frame)
    assert policy.act(frame) == expected[1]


@pytest.mark.parametrize("change", [{"unfolds": 1}, {"integrator": "rk4"}, {"frame_s": 0.5}])
def test_act_follows_a_changed_setting(policy, change):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    before = policy.act(frame)
    for name, value in change.items():
        setattr(policy.circuit.cell, name, value)
    policy.reset()
    expected = policy(torch.from_numpy(frame)[None, None])[0].clamp(-1, 1).detach()[0, 0]
    np.testing.assert_allclose(policy.act(frame), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(policy.act(frame) - before).max() > 1e-5


@pytest.mark.parametrize("make_cell", CELLS)
def test_an_action_that_is_not_finite_is_refused_and_all_forgotten(flat_policy, make_cell):
    policy = flat_policy(Circuit(make_cell()))
    frame = np.random.default_rng(0).standard_normal(32)
    first = policy.act(frame)
    weights = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"`state` must be finite, got \[nan"):
        policy.act(frame)
    policy.load_state_dict(weights)
    np.testing.assert_array_equal(policy.act(frame), first)


@pytest.mark.parametrize("make_cell", [lambda: LTC(NCP19), lambda: WiredCfC(NCP19)])
def test_an_infinite_output_is_refused_even_where_it_is_squashed(flat_policy, make_cell):
    policy = flat_policy(Circuit(make_cell()))
    policy.respond = torch.tanh
    frame = np.random.default_rng(0).standard_normal(32)
    first = policy.act(frame)
    with torch.no_grad():
        policy.circuit.cell.output_offset.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"`output` must be finite, got \[inf\]"):
        policy.act(frame)
    policy.circuit.cell.output_offset.data.zero_()
    np.testing.assert_array_equal(policy.act(frame), first)
    policy.respond = torch.log
    with pytest.raises(ValueError, match=r"`action` must be finite, got \[(nan|-inf)\]"):
        policy.act(0.0 * frame)
        policy.act(-frame)


def test_another_cell_does_not_go_on_with_the_memory_of_the_first(flat_policy):
    frame = np.random.default_rng(0).standard_normal(32)
    old, new = CfC(32, 5, 1), CfC(32, 5, 1)
    expected = flat_policy(Circuit(new)).act(frame)
    policy = flat_policy(Circuit(old))
    policy.act(frame)
    policy.circuit.cell = new
    np.testing.assert_array_equal(policy.act(frame), expected)


def test_a_policy_in_bfloat16_acts(flat_policy):
    policy = flat_policy(Circuit(LSTM(32, 5, 1)))
    frame = np.random.default_rng(0).standard_normal(32)
    expected = policy.act(frame)
    action = policy.to(torch.bfloat16).act(frame)
    np.testing.assert_allclose(action, expected, atol=0.02)


@pytest.mark.parametrize("make_cell", [*CELLS, lambda: LTC(NCP19, integrator="rk4")])
def test_the_state_is_a_copy(flat_policy, make_cell):
    policy = flat_policy(Circuit(make_cell())).eval()
    assert policy.state is None
    policy.act(np.ones(32, np.float32))
    first = policy.state
    kept = first.copy()
    policy.act(-np.ones(32, np.float32))
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(policy.state, kept)
    second = policy.state.copy()
    policy.state[:] = 0.0
    np.testing.assert_array_equal(policy.state, second)
    after = policy.act(np.ones(32, np.float32))
    policy.state = second
    np.testing.assert_array_equal(policy.state, second)
    np.testing.assert_allclose(policy.act(np.ones(32, np.float32)), after, atol=1e-6)


def test_act_uses_the_elapsed_time(policy):
    frame = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    quick = policy.act(frame, dt_s=0.001)
    policy.reset()
    assert np.abs(quick - policy.act(frame, dt_s=0.5)).max() > 1e-4


def test_saving_replaces_a_policy_and_nothing_else(policy, flat_policy, tmp_path):
    (tmp_path / "policy").mkdir()
    policy.save(tmp_path / "policy")
    flat_policy(Circuit(CfC(4, 3, 1))).save(tmp_path / "policy")
    assert isinstance(Policy.load(tmp_path / "policy").circuit.cell, CfC)
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]

    (tmp_path / "folder" / "config.json").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"with 'config\.json' in it"):
        policy.save(tmp_path / "folder")

    thesis = tmp_path / "home" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(
        ValueError, match=r"nothing but a policy, got '.*' with 'thesis\.txt' in it"
    ):
        policy.save(thesis.parent)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"editor": "theirs"}')
    with pytest.raises(ValueError, match=r"with 'config\.json' in it"):
        policy.save(tmp_path / "other")
    with pytest.raises(ValueError, match="`folder` must not be a file"):
        policy.save(thesis)
    assert thesis.read_text() == "years of work"


def test_a_failed_save_leaves_the_old_policy(policy, tmp_path, monkeypatch):
    policy.save(tmp_path / "policy")
    before = (tmp_path / "policy" / "weights.safetensors").read_bytes()
    monkeypatch.setattr("safetensors.torch.save", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        policy.save(tmp_path / "policy")
    assert (tmp_path / "policy" / "weights.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


class Remembering(LSTM):
    """An LSTM whose control step repeats the last features and counts its calls."""

    def control_step(self):
        return Counting()


class Counting:
    is_current = True

    def __init__(self):
        self.state = np.zeros(1, np.float32)

    def __call__(self, features, dt_s):
        self.state += 1.0
        return np.float32([self.state[0] * dt_s])

    def reset(self):
        self.state[:] = 0.0


def test_a_cell_of_ones_own_may_bring_its_own_control_step():
    policy = VectorPolicy(Remembering(2, 5, 1), observation_size=2).eval()
    actions = [policy.act(np.zeros(2), 0.125) for _ in range(3)]
    np.testing.assert_allclose(np.concatenate(actions), [0.125, 0.25, 0.375])
    policy.reset()
    assert policy.act(np.zeros(2), 0.125) == [0.125]
    policy._control_step.is_current = False
    assert policy.act(np.zeros(2), 0.125) == [0.125], "a new one is asked for"


def test_only_cells_with_a_kernel_have_a_control_step():
    class Mine(LTC):
        pass

    assert LTC(NCP19).control_step() is not None
    assert LTC(NCP19, integrator="rk4").control_step() is None
    assert Mine(NCP19).control_step() is None
    assert CfC(32, 5, 1).control_step() is not None
    assert CfC(32, 5, 1).half().control_step() is None
    assert STC(NCP19, integrator="rk4").control_step() is None


def test_observations_of_another_shape_are_named_as_they_were_given():
    policy = VectorPolicy(LSTM(2, 3, 1), observation_size=2)
    with pytest.raises(ValueError, match=r"shape \(batch, time, …\), got \(3, 2\). Give one seq"):
        policy(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"hold 2 numbers, got shape \(2, 2\). Give one vector"):
        policy.act(np.zeros((2, 2)))
    for shape in ((2,), (5, 3)):
        with pytest.raises(ValueError, match=r"`observations` must have shape \(…, 2\), got \("):
            policy.fit_scale(torch.zeros(shape))
    with pytest.raises(TypeError, match="`observations` must be a tensor, got 'ndarray'. Convert"):
        policy.fit_scale(np.zeros((5, 2)))
