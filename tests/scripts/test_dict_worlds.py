"""Jobs in a world that shows a frame and numbers at once, and in one of numbers in parts."""

from types import SimpleNamespace
from typing import ClassVar

import cv2
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from ncp_control import load
from ncp_control.learning.demonstrations import Batch
from ncp_control.learning.demonstrations.expert import demonstrate
from ncp_control.learning.imitation import ImitationConfig, imitation_error
from ncp_control.policy import FramesPolicy
from ncp_control.policy.heads import HEADS, Head, head_width, register_head
from ncp_control.records import frames_in, numbers_in
from ncp_control.worlds import find_world
from policies.augmentation import FrameAugmentation
from policies.driving import make_driving_policy
from scripts.audit import audit
from scripts.auditing.settings import Audit
from scripts.evaluate import evaluate_policy
from scripts.evaluation.film import _camera_of, film
from scripts.evaluation.settings import Evaluate
from scripts.evaluation.worlds import WorldSettings
from scripts.train import train
from scripts.training.imitate import augmentation, train_imitate
from scripts.training.imitation_settings import Imitate
from scripts.training.jobs import JOBS

OWN = "tests.scripts.test_dict_worlds"
SHAPE = (24, 48, 3)


class Trolley(gymnasium.Env):
    """A trolley on a line that is to be brought to the middle: a bright column shows its place.

    In half of the episodes its motor is mounted the other way round, which a number tells. So the
    frame alone does not say where to go.
    """

    metadata: ClassVar = {"render_fps": 10, "render_modes": ["rgb_array"]}
    observation_space = spaces.Dict(
        camera=spaces.Box(0, 255, SHAPE, np.uint8), mounting=spaces.Box(-5.0, 5.0, (1,))
    )
    action_space = spaces.Box(-1.0, 1.0, (1,))
    render_mode = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.uniform(-2.0, 2.0)
        self.mounting = self.np_random.choice([-5.0, 5.0])
        return self.see(), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.06 * self.mounting * float(action[0]), -2.0, 2.0)
        self.steps += 1
        return self.see(), -float(abs(self.place)), False, self.steps == 20, {}

    def see(self):
        return {"camera": self.render(), "mounting": np.array([self.mounting], np.float32)}

    def render(self):
        frame, column = np.full(SHAPE, 90, np.uint8), int(24 + 10 * self.place)
        frame[:, column - 1 : column + 2] = 255
        return frame


class Blind(Trolley):
    """The same without the number."""

    observation_space = Trolley.observation_space["camera"]

    def see(self):
        return self.render()


class Numbers(Trolley):
    """The same as a dictionary of numbers."""

    observation_space = spaces.Dict(
        achieved_goal=spaces.Box(-2.0, 2.0, (1,)),
        desired_goal=spaces.Box(-2.0, 2.0, (1,)),
        observation=spaces.Box(-5.0, 5.0, (2,)),
    )

    def see(self):
        return {
            "achieved_goal": np.array([self.place], np.float32),
            "desired_goal": np.zeros(1, np.float32),
            "observation": np.array([self.mounting, 0.0], np.float32),
        }


def push(env, observation, info):
    """Return the push towards the middle."""
    body = env.unwrapped
    return np.clip([-0.5 * body.place * np.sign(body.mounting)], -1.0, 1.0)


def quick(tmp_path, world, epochs=2, **changes):
    settings = {
        "world": f"{OWN}:{world}",
        "expert": f"{OWN}:push",
        "neurons": 12,
        "imitation": ImitationConfig(
            epochs=epochs, window=10, batch_size=8, dagger_epochs=(1,), turn_weight=0.0
        ),
        "episodes": 16,
        "validation_episodes": 2,
        "evaluation_episodes": 2,
        "runs": tmp_path / "runs",
    }
    return Imitate(**{**settings, **changes})


QUICK_PPO = (
    "--cell ltc --neurons 10 --encoder --steps 64 --num-envs 2 --rollout-steps 32"
    " --sequence-length 16 --batch-size 32 --epochs 1 --evaluation-episodes 2"
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    # Drawing the pictures takes the longest.
    monkeypatch.setattr("scripts.reporting.write_picture", lambda path, figure: path.touch())
    monkeypatch.setattr("scripts.evaluation.report.film", lambda *_, **__: (None, "No film."))


def test_a_policy_of_frame_and_number_is_imitated_evaluated_and_audited(
    type_command, capsys, tmp_path
):
    train_imitate(quick(tmp_path, "Trolley", relight=True))
    (run,) = (tmp_path / "runs").iterdir()
    policy = load(run / "policy")
    assert isinstance(policy, FramesPolicy) and policy.numbers == 1
    assert policy.contract.observation.kind == "dict"
    assert policy.observation_std.item() > 4.0, "scaled by what was demonstrated"
    capsys.readouterr()

    words = [str(run / "policy"), "--episodes", "2", "--drop", "0", "0.3"]
    assert type_command(evaluate_policy, Evaluate, *words) == 0
    assert "mounting: 1 number: mounting" in capsys.readouterr().out

    assert type_command(audit, Audit, str(run / "policy"), "--seconds", "1") == 0
    folder = next((tmp_path / "runs").glob("audit-*/report"))
    report = (folder / "report.md").read_text()
    assert "not made" not in report.lower(), "every part of the audit suits it"
    assert "sensory_32 | mounting" in report and "pixel noise, variance 0.1" in report
    assert (folder / "saliency.png").exists() and (folder / "inspector.html").exists()

    assert type_command(evaluate_policy, Evaluate, str(run / "policy"), "--log", "x") == 2
    assert "`folder` must be the folder of a recording, got 'x'" in capsys.readouterr().err
    assert type_command(audit, Audit, str(run / "policy"), "--log", "x") == 2
    assert "`folder` must be the folder of a recording, got 'x'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_number_is_learned(tmp_path):
    """Without it, half of the trolleys are pushed the wrong way."""
    errors = {}
    for name in ("Trolley", "Blind"):
        policy = train_imitate(
            quick(tmp_path / name, name, epochs=25, episodes=48, validation_episodes=8)
        )
        world = find_world(f"{OWN}:{name}")
        shown = demonstrate(tmp_path / name / "test", world, push, range(5000, 5030))
        errors[name] = imitation_error(policy, shown)
    assert errors["Trolley"] < 0.25 * errors["Blind"], errors


def test_a_policy_of_frame_and_number_learns_by_reinforcement(type_command, tmp_path):
    quick_ppo = QUICK_PPO.replace("--encoder ", "")
    words = ["ppo", "--world", f"{OWN}:Trolley", *quick_ppo.split(), "--drop-probability", "0.2"]
    assert type_command(train, JOBS, *words) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert '""encoder"": []' in (run / "results.csv").read_text(), "the head takes its place"
    policy = load(run / "policy")
    assert policy.numbers == 1 and policy.observation_std.item() > 3.0

    words = [
        "ppo",
        "--policy",
        str(run / "policy"),
        *QUICK_PPO.split()[5:],
        "--critic-first-steps",
        "0",
    ]
    assert type_command(train, JOBS, *words) == 0, "its circuit goes on learning"


class Columns(Head):
    """A head of a user's own, of another width than ours: the brightness of each column."""

    def __init__(self, frame_shape):
        super().__init__()
        self.num_features = frame_shape[1]
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, frames):
        return frames.to(self.gain.dtype).mean(dim=(1, 3)) / 255.0 * self.gain


def test_a_head_may_have_any_width(type_command, tmp_path, monkeypatch):
    monkeypatch.setattr(HEADS, "_things", dict(HEADS._things))
    monkeypatch.setattr(HEADS, "_sources", dict(HEADS._sources))
    register_head("columns", Columns)
    before = torch.get_rng_state()
    assert head_width("columns", SHAPE) == 48 and head_width("light", SHAPE) == 32
    assert torch.equal(torch.get_rng_state(), before), "trainings draw the same weights as before"
    train_imitate(quick(tmp_path, "Blind", head="columns"))
    words = ["ppo", "--world", f"{OWN}:Trolley", "--head", "columns", *QUICK_PPO.split()]
    assert type_command(train, JOBS, *words) == 0
    widths = {load(run / "policy").circuit.cell.input_size for run in (tmp_path / "runs").iterdir()}
    assert widths == {48, 49}
    assert make_driving_policy("lstm", head="columns").circuit.cell.input_size == 200


def test_numbers_in_parts_are_learned_as_one_vector(type_command, tmp_path):
    words = ["ppo", "--world", f"{OWN}:Numbers", *QUICK_PPO.split()]
    assert type_command(train, JOBS, *words) == 0
    (run,) = (tmp_path / "runs").iterdir()
    names = [entry.name for entry in load(run / "policy").contract.observation.entries]
    assert names[:2] == ["achieved_goal", "desired_goal"] and len(names) == 4
    words = ["distill", "--teacher", str(run / "policy"), "--cell", "gru", "--neurons", "8"]
    words += "--encoder --distillation.rounds 2 --evaluation-episodes 2".split()
    assert type_command(train, JOBS, *words) == 0


def test_light_changes_in_the_frame_alone_and_a_mirror_is_refused(tmp_path):
    world = find_world(f"{OWN}:Trolley")
    change = augmentation(quick(tmp_path, "Trolley", relight=True), world)
    assert change == FrameAugmentation(is_relit=True, record_frame=SHAPE)
    env = world.make()
    records = np.stack([env.reset(seed=i)[0] for i in range(6)]).reshape(2, 3, -1)
    rest = (torch.zeros(2, 3, 1), torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))
    names = ("actions", "dt_s", "mask")
    batch = Batch(observations=torch.from_numpy(records), **dict(zip(names, rest, strict=True)))
    changed = change(batch, torch.Generator().manual_seed(0)).observations
    assert torch.equal(numbers_in(changed, SHAPE), numbers_in(batch.observations, SHAPE))
    assert not torch.equal(frames_in(changed, SHAPE), frames_in(batch.observations, SHAPE))
    with pytest.raises(ValueError, match="`mirror` must be left out in"):
        augmentation(quick(tmp_path, "Trolley", mirror=True), world)
    numbers = find_world(f"{OWN}:Numbers")
    for name in ("mirror", "relight"):
        with pytest.raises(ValueError, match=f"`{name}` must be left out .* which shows no frames"):
            augmentation(quick(tmp_path, "Numbers", **{name: True}), numbers)


def test_frames_that_are_kept_as_png_teach_the_same_and_are_found_again(tmp_path, capsys):
    raw, png = (
        train_imitate(quick(tmp_path, "Trolley", data=tmp_path / "shown", frames_as=kind))
        for kind in ("raw", "png")
    )
    for name, value in raw.state_dict().items():
        assert torch.equal(value, png.state_dict()[name]), name
    kept = {one.name: (one / "frames.bin").is_file() for one in (tmp_path / "shown").iterdir()}
    assert sorted(kept.values()) == [False, True]
    capsys.readouterr()
    train_imitate(quick(tmp_path, "Trolley", data=tmp_path / "shown", frames_as="png"))
    assert "recorded before" in capsys.readouterr().out


def test_of_stacked_frames_the_film_shows_the_newest():
    seen = find_world(f"{OWN}:Blind", grey=True, stack=3).contract.observation
    frames = np.arange(3, dtype=np.uint8) * np.ones(seen.shape, np.uint8)
    step = SimpleNamespace(observations=frames[None])
    place = SimpleNamespace(world=SimpleNamespace(contract=SimpleNamespace(observation=seen)))
    shown = _camera_of(place)(step)
    assert shown.shape == (*SHAPE[:2], 3) and (shown == 2).all()


@pytest.mark.parametrize("name", ["Trolley", "Blind"])
def test_a_world_that_draws_nothing_is_filmed_through_its_camera(name, tmp_path):
    place, path = WorldSettings(env=f"{OWN}:{name}").place, tmp_path / "film.mp4"
    numbers = int(name == "Trolley")
    policy = make_driving_policy(
        "mlp", head="light", frame_s=0.1, num_units=8, numbers=numbers, frame_shape=SHAPE
    )
    episode, skipped = film(path, policy, place, seconds=1.5)
    assert skipped is None and len(episode) == 15
    video = cv2.VideoCapture(str(path))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 15
    picture = video.read()[1]
    column = np.argmax(picture[100].sum(axis=1)) / picture.shape[1]
    env = place.world.make()
    env.reset(seed=place.seeds[0])
    assert column == pytest.approx((24 + 10 * env.unwrapped.place) / SHAPE[1], abs=0.03)
