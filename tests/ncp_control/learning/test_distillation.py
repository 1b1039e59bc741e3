"""A point on a line that must be held at zero: the teacher sees its speed, the student may not."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ncp_control import Circuit
from ncp_control.acting.closed_loop import PolicyPilot, closed_loop
from ncp_control.cells import GRU, Feedforward
from ncp_control.learning.distillation import DistillationConfig, DistillationLoss, distill
from ncp_control.learning.divergence import DivergenceError
from ncp_control.learning.rollouts import MixedPilot, Rollouts, collect, first_returns
from ncp_control.learning.run import Run
from ncp_control.learning.training_state import epochs_done

FRAME_S = 0.1
QUICK = DistillationConfig(
    rounds=3,
    worlds=4,
    steps_per_round=30,
    mixed_rounds=2,
    updates_per_round=20,
    window=15,
    burn_in=4,
    batch_size=32,
    weight_average=0.95,
)


class Point:
    """Position and speed; the action accelerates; 30 steps an episode; the speed may be hidden."""

    def __init__(self, sees_speed=False):
        self.sees_speed = sees_speed

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator = np.random.default_rng(seed)
        self.state = self.generator.uniform(-1, 1, 2)
        self.steps = 0
        return self.see()

    def see(self):
        info = {"time_s": FRAME_S * self.steps, "full_observation": self.state.copy()}
        return self.state[: 1 + self.sees_speed].copy(), info

    def step(self, action):
        position, speed = self.state
        speed += FRAME_S * 10.0 * float(action[0])
        self.state = np.array([position + FRAME_S * speed, speed])
        self.steps += 1
        observation, info = self.see()
        return observation, -float(self.state @ self.state), False, self.steps == 30, info


@pytest.fixture
def teacher(flat_policy):
    """Exactly a = −x − v: ReLU units for either sign of it."""
    policy = flat_policy(Circuit(Feedforward(2, 2, 1, frame_s=FRAME_S)))
    cell = policy.circuit.cell
    with torch.no_grad():
        cell.hidden[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        cell.hidden[2].weight.copy_(torch.eye(2))
        cell.output.weight.copy_(torch.tensor([[-1.0, 1.0]]))
        for layer in (cell.hidden[0], cell.hidden[2], cell.output):
            layer.bias.zero_()
    return policy.double()


@pytest.fixture
def make_student(flat_policy):
    def make(cell=GRU, seed=0):
        torch.manual_seed(seed)
        return flat_policy(Circuit(cell(1, 16, 1, frame_s=FRAME_S)))

    return make


class Float32(Point):
    """Observations as the student's parameters are."""

    def see(self):
        observation, info = super().see()
        return observation.astype(np.float32), info


def run_distillation(folder, student, teacher, config=QUICK, *, step=None):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    run = Run(folder) if step is None else Run.reopen(folder, step=step)
    worlds = [Float32() for _ in range(config.worlds)]
    scales = []
    return distill(student, teacher, worlds, config, run, frame_s=FRAME_S, fit_scale=scales.append)


def mean_return(policy, worlds):
    return float(first_episodes(policy, worlds, range(100, 100 + len(worlds))).mean())


def first_episodes(policy, worlds, seeds):
    """Return the return of one episode of 30 steps in each world."""
    loop = closed_loop(worlds, PolicyPilot(policy), num_steps=30, frame_s=FRAME_S, seeds=seeds)
    rewards, resets = zip(*((step.rewards, step.reset) for step in loop), strict=True)
    return first_returns(np.stack(rewards, axis=1), np.stack(resets, axis=1))


@pytest.mark.slow
def test_a_student_with_memory_learns_what_one_without_cannot(tmp_path, teacher, make_student):
    """The teacher damps the speed; from positions alone only memory can tell it."""
    config = dataclasses.replace(QUICK, rounds=6, worlds=16, updates_per_round=200)
    cost = {}
    for cell in (GRU, Feedforward):
        policy = run_distillation(tmp_path / cell.__name__, make_student(cell), teacher, config)
        cost[cell] = -mean_return(policy, [Float32() for _ in range(16)])
    best = -mean_return(teacher, [Point(sees_speed=True) for _ in range(16)])
    assert cost[GRU] < 2.0 * best
    assert cost[Feedforward] > 3.0 * best


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    tmp_path, teacher, make_student, stopped_trainings
):
    config = dataclasses.replace(QUICK, rounds=2, worlds=2, updates_per_round=2)

    def train(folder):
        step = epochs_done(folder) if folder.exists() else None
        student = make_student(seed=0 if step in (None, -1) else 9)
        return run_distillation(folder, student, teacher, config, step=step).state_dict()

    expected = train(tmp_path / "whole")
    metrics = (tmp_path / "whole" / "metrics.csv").read_text()
    stopped = list(stopped_trainings(train))
    for folder in stopped:
        assert all(torch.equal(weight, expected[name]) for name, weight in train(folder).items())
        assert (folder / "metrics.csv").read_text() == metrics
        last = [run / "checkpoints" / "last" for run in (folder, tmp_path / "whole")]
        assert len({(policy / "weights.safetensors").read_bytes() for policy in last}) == 1
        assert not (folder / "rollouts").exists()
    assert len(stopped) == 2 * (2 + 1), "at each step, and at the end of each round"


@pytest.mark.parametrize("broken", [1, 3])
def test_a_training_that_diverges_ends_with_the_best_before_it(
    tmp_path, teacher, make_student, monkeypatch, capsys, broken
):
    student, join = make_student(), Rollouts.join

    def diverge(parts):
        if len(parts) == broken:
            for weight in student.parameters():
                weight.data.fill_(torch.nan)
        return join(parts)

    class Strict(Float32):
        def step(self, action):
            assert np.isfinite(action).all()
            return super().step(action)

    monkeypatch.setattr(Rollouts, "join", diverge)
    run = Run(tmp_path)
    worlds = [Strict() for _ in range(QUICK.worlds)]
    loop = {"frame_s": FRAME_S, "fit_scale": lambda _: None}
    if broken == 1:
        told = "must stay finite, but diverged in step 1 of round 1, with a loss of nan. Lower the"
        with pytest.raises(DivergenceError, match=told):
            distill(student, teacher, worlds, QUICK, run, **loop)
    else:
        best = distill(student, teacher, worlds, QUICK, run, **loop)
        assert all(torch.isfinite(weight).all() for weight in best.parameters())
        printed = capsys.readouterr().out
        assert re.search("diverged in step 1 of round 3, .*: the best before it, of round", printed)
        assert epochs_done(tmp_path) == 2, "what diverged is not saved"


def test_a_loss_that_is_not_finite_ends_the_training_before_its_step(
    tmp_path, teacher, make_student, monkeypatch
):
    """One batch without a finite loss costs neither the weights nor the checkpoint."""
    batches, losses = 0, DistillationLoss.loss

    def loss(*args):
        nonlocal batches
        batches += 1
        return losses(*args) * (torch.inf if batches == 45 else 1.0)  # in the third round

    monkeypatch.setattr(DistillationLoss, "loss", loss)
    student = make_student()
    best = run_distillation(tmp_path, student, teacher)
    assert batches == 45
    for policy in (student, best):
        assert all(torch.isfinite(weight).all() for weight in policy.parameters())
    assert epochs_done(tmp_path) == 2


def test_the_teacher_labels_what_the_student_sees(teacher, make_student):
    worlds = [Float32() for _ in range(3)]
    pilot = MixedPilot(make_student(), teacher, np.array([0.0, 1.0, 0.5]), np.random.default_rng(0))
    rollouts, returns = collect(worlds, pilot, num_steps=45, frame_s=FRAME_S, seeds=[1, 2, 3])
    assert rollouts.observations.shape == (3, 45, 1)
    assert rollouts.reset.nonzero()[:, 1].tolist() == [0, 30] * 3
    position = rollouts.observations[1, :30, 0].double()
    speed = torch.diff(position) / FRAME_S
    # In the world that the teacher steers alone, its labels are the accelerations that follow.
    acceleration = torch.diff(speed) / (10.0 * FRAME_S)
    torch.testing.assert_close(
        rollouts.actions[1, 1:29, 0].double(), acceleration, atol=1e-4, rtol=0
    )
    alone = first_episodes(make_student(), [Float32()], [1])
    assert returns[0] == pytest.approx(alone[0])


def test_only_steps_with_a_memory_of_their_own_count():
    actions = torch.tensor([[9.0, 9.0, 9.0, 1.0, 1.0], [9.0, 2.0, 2.0, 2.0, 2.0]])[..., None]
    reset = torch.zeros(2, 5, dtype=torch.bool)
    reset[1, 1] = True
    wanted = torch.zeros_like(actions)
    batch = Rollouts(observations=actions, actions=wanted, dt_s=wanted[..., 0], reset=reset)

    def student(observations, **_):
        return observations, None

    # Window 0 counts its last two steps, window 1 everything from the reset on.
    shared, expected = DistillationLoss(burn_in=3), (2 * 1.0 + 4 * 4.0) / 6
    assert shared.loss(student, batch).item() == pytest.approx(expected)
    weights = [shared.weight(student, part).item() for part in shared.split(batch, 2)]
    losses = [shared.loss(student, part).item() for part in shared.split(batch, 2)]
    assert (weights, losses) == ([2, 4], [1.0, 4.0]), "shares add up to the whole"


def test_windows_are_pieces_of_one_world():
    steps = torch.arange(40.0).reshape(2, 20)
    data = Rollouts(
        observations=steps[..., None], actions=-steps[..., None], dt_s=steps, reset=steps < 0
    )
    cut = data.windows(200, 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.diff(cut.dt_s), torch.ones(200, 5))
    torch.testing.assert_close(cut.observations, -cut.actions)
    starts = set(cut.dt_s[:, 0].tolist())
    assert starts == {float(w * 20 + s) for w in range(2) for s in range(15)}


def test_rollouts_are_read_as_written(tmp_path):
    data = Rollouts(
        observations=torch.randn(2, 3, 4),
        actions=torch.randn(2, 3, 1),
        dt_s=torch.rand(2, 3),
        reset=torch.rand(2, 3) > 0.5,
    )
    data.save(tmp_path / "rollouts.safetensors")
    loaded = Rollouts.load(tmp_path / "rollouts.safetensors")
    for field in dataclasses.fields(Rollouts):
        assert torch.equal(getattr(loaded, field.name), getattr(data, field.name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "`rounds` must be a whole number of at least 1, got 0"),
        ({"mixed_rounds": -3}, "`mixed_rounds` must be a whole number of at least 0, got -3"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be positive .*, got nan"),
        ({"learning_rate": 1e30}, r"`learning_rate` must be positive and at most 1000, got 1e\+30"),
        ({"weight_average": 2.0}, "`weight_average` must be from 0 to below 1, got 2.0"),
        ({"worlds": 1}, "`worlds` must be at least 2, got 1"),
        ({"burn_in": 40}, "`burn_in` must be from 0 to below `window`"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DistillationConfig(**changes)


def whole_rollouts():
    return {
        "observations": torch.zeros(2, 3, 4),
        "actions": torch.zeros(2, 3, 1),
        "dt_s": torch.zeros(2, 3),
        "reset": torch.zeros(2, 3, dtype=torch.bool),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": torch.full((2, 3, 1), torch.nan)}, "NaN or infinity in actions"),
        ({"dt_s": torch.full((2, 3), torch.inf)}, "NaN or infinity in dt_s"),
        ({"actions": torch.zeros(2, 4, 1)}, r"torch.float32 of shape \(2, 4, 1\) as actions"),
        ({"observations": torch.zeros(2, 3)}, r"shape \(2, 3\) as observations"),
        ({"reset": torch.zeros(2, 3)}, "torch.float32 of shape .* as reset"),
        ({"reset": torch.zeros(2).bool()}, "as observations"),
    ],
)
def test_rollouts_that_nothing_can_be_learned_from_are_not_kept(tmp_path, changes, message):
    path, values = tmp_path / "round-000.safetensors", whole_rollouts() | changes
    with pytest.raises(ValueError, match=f"rollouts must be finite numbers .*, got .*{message}"):
        Rollouts(**values).save(path)
    assert not path.exists()
    save_file(values, path)
    with pytest.raises(ValueError, match=f"got a damaged file: .*{message}"):
        Rollouts.load(path)


@pytest.mark.parametrize("damage", ["cut", "foreign", "gone", "folder"])
def test_damaged_rollouts_are_named(tmp_path, damage):
    path = tmp_path / "round-000.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-6])
    elif damage in ("gone", "folder"):
        path.unlink()
    if damage == "folder":
        path.mkdir()
    with pytest.raises(ValueError, match="round-000.safetensors must be rollouts of the training"):
        Rollouts.load(path)
