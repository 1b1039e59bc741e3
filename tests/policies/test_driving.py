import numpy as np
import pytest
import torch

import envs  # noqa: F401 - registers the worlds
from envs.driving.pure_pursuit import PurePursuit
from ncp_control import CELLS, LTC, Policy, auto_ncp
from ncp_control.learning.demonstrations import Batch
from ncp_control.policy import FramesPolicy
from ncp_control.policy.heads import HEADS, paper_head, standardize
from ncp_control.worlds import find_world
from policies.augmentation import augment_driving
from policies.driving import make_driving_policy
from policies.locomotion import make_policy_for


def frames(*batch):
    return torch.randint(0, 256, (*batch, 78, 200, 3), dtype=torch.uint8)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_paper_head_has_the_papers_parameters():
    head = paper_head()
    assert count(head) == 79_420
    assert count(head.convolutions) == 71_388
    assert head(frames(2)).shape == (2, 32)


def test_driving_policy_parameters_are_the_papers():
    policy = make_driving_policy("ncp", head="paper")
    assert count(policy.head) == 79_420
    assert count(policy.circuit) == 1_065 + 2 * 32 + 2  # circuit, affine maps in and out


@pytest.mark.parametrize("name", ["paper", "light"])
def test_each_feature_hears_one_map(name):
    head = HEADS[name]()
    maps = torch.rand(1, 8, 10, 25, requires_grad=True)
    head.convolutions = torch.nn.Identity()
    head.convolutions.forward = lambda _: maps
    features = head(frames(1))
    alive = int(features[0].argmax())
    (gradient,) = torch.autograd.grad(features[0, alive], maps)
    heard = gradient.abs().sum((0, 2, 3)) > 0
    assert heard.nonzero().flatten().tolist() == [alive // 4]


@pytest.mark.parametrize("name", ["paper", "light"])
def test_heads_ignore_overall_light_and_contrast(name):
    head = HEADS[name]().double()
    image = torch.randint(0, 100, (1, 78, 200, 3), dtype=torch.uint8)
    torch.testing.assert_close(head(image), head(image * 2 + 10))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.astype(np.float32),
        lambda image: image / 255.0,
        lambda image: image > 99,
        lambda image: image.astype(complex),
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image.astype(np.int8),
        lambda image: image[..., :1],
        lambda image: image.swapaxes(0, 1),
        lambda image: image[None],
    ],
)
def test_frames_of_another_kind_are_refused_and_forgotten(change):
    policy = make_driving_policy("ncp", head="light")
    first, second = frames(2).numpy()
    steering = [policy.act(first), policy.act(second)]
    policy.reset()
    policy.act(first)
    with pytest.raises(ValueError, match="`observation` must be a uint8 frame of shape .* got"):
        policy.act(change(second))
    np.testing.assert_array_equal(policy.act(second), steering[1])


def test_frames_may_be_read_only_and_turned_over():
    policy = make_driving_policy("ncp", head="light")
    frame = frames(1)[0].numpy()
    expected = policy.act(frame[::-1].copy())
    policy.reset()
    frame.setflags(write=False)
    np.testing.assert_array_equal(policy.act(frame[::-1]), expected)


def test_only_camera_frames_are_augmented():
    batch = Batch(
        observations=frames(2, 2).float(),
        actions=torch.zeros(2, 2, 1),
        dt_s=torch.ones(2, 2),
        mask=torch.ones(2, 2, dtype=torch.bool),
    )
    with pytest.raises(ValueError, match=r"`observations` must be uint8 of shape .* got torch\.fl"):
        augment_driving(batch, torch.Generator())


def test_a_path_that_cannot_be_followed_is_refused():
    expert = PurePursuit(wheelbase_m=2.5, max_steer_rad=0.4)
    path = np.array([[2.0, 0.1], [6.0, 0.3], [60.0, np.nan]])
    with pytest.raises(ValueError, match=r"`preview_m` must be finite, got \[60\.0, nan\] at po"):
        expert(path)
    assert expert(path[:2]) > 0
    for shape in ((0, 2), (2,), (3, 3)):
        with pytest.raises(ValueError, match=r"`preview_m` must have shape \(points, 2\), got"):
            expert(np.ones(shape))
    with pytest.raises(ValueError, match=r"must have a point away from the rear axle"):
        expert(np.zeros((1, 2)))
    assert expert([[0.0, 0.1]]) == 1.0


def test_standardize_gives_mean_zero_deviation_one():
    images = standardize(frames(3).double())
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(images.std((1, 2, 3), correction=0), torch.ones(3).double())
    flat = standardize(torch.full((1, 78, 200, 3), 7.0))
    assert (flat == 0).all()


@pytest.mark.parametrize("model", CELLS)
def test_policies_survive_saving(model, tmp_path):
    policy = make_driving_policy(model, head="light").eval()
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert isinstance(loaded, FramesPolicy)
    observation = frames(2, 3)
    assert torch.equal(loaded(observation)[0], policy(observation)[0])


@pytest.mark.parametrize("model", CELLS)
def test_batch_equals_singles(model):
    policy = make_driving_policy(model, head="light").double()
    observation = frames(3, 4)
    together, _ = policy(observation)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], policy(observation[i : i + 1])[0])


def test_mirrored_windows_steer_the_other_way():
    steering = torch.rand(64, 2, 1) + 0.1
    batch = Batch(
        observations=frames(64, 2),
        actions=steering,
        dt_s=torch.ones(64, 2),
        mask=torch.ones(64, 2, dtype=torch.bool),
    )
    before = batch.observations.clone()
    changed = augment_driving(batch, torch.Generator().manual_seed(0))
    mirrored = changed.actions[:, 0, 0] < 0
    assert 16 < int(mirrored.sum()) < 48
    assert torch.equal(changed.actions.abs(), steering)
    assert torch.equal(batch.observations, before), "the demonstrations must not change"
    for i in range(64):
        source = before[i].flip(2) if mirrored[i] else before[i]
        columns = (changed.observations[i] == source).all(dim=0).all(dim=0).all(dim=-1)
        changes = np.flatnonzero(np.diff(columns.numpy().astype(int)))
        assert len(changes) <= 2, "light changes within one band only"


def test_pure_pursuit_follows_a_circle_exactly():
    """On a circle through the rear axle every look-ahead point gives the circle's own curvature."""
    radius_m, wheelbase_m = 20.0, 2.5
    angle = np.linspace(0.1, 1.0, 10)
    circle = radius_m * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    expert = PurePursuit(wheelbase_m=wheelbase_m, max_steer_rad=0.4)
    expected = np.arctan(wheelbase_m / radius_m) / 0.4
    np.testing.assert_allclose(expert(circle), [expected], rtol=1e-6)
    np.testing.assert_allclose(expert(circle * [1, -1]), [-expected], rtol=1e-6)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`head` must be one of .*, got 'heavy'"):
        make_driving_policy("ncp", head="heavy")
    with pytest.raises(ValueError, match="`cell` must be one of .*, got 'lsmt'.*mean 'lstm'"):
        make_driving_policy("lsmt")
    with pytest.raises(ValueError, match="`cell` must take 32 inputs, got 8"):
        FramesPolicy(LTC(auto_ncp(8, 12, 1)))
    with pytest.raises(ValueError, match=r"must hold frames of shape \(78, 200, 3\)"):
        paper_head()(torch.zeros(1, 66, 200, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="`lookahead_m` must be positive, got 0"):
        PurePursuit(wheelbase_m=2.5, max_steer_rad=0.4, lookahead_m=0.0)


@pytest.mark.parametrize("name", ["ltc", "ncp", "stc", "lrcu"])
def test_every_recipe_reads_what_it_is_asked_to(name):
    contract = find_world("Walker2d-v5").contract
    for policy in (
        make_driving_policy(name, head="light", reads="command"),
        make_policy_for(contract, name, num_neurons=16, reads="command"),
    ):
        assert policy.circuit.cell.reads == "command"
        assert policy.circuit.cell.read_weight.shape[1] > 0


def test_a_cell_that_reads_all_of_its_state_anyway_is_told_so():
    with pytest.raises(ValueError, match="`reads` must be left out for the cell 'lstm'"):
        make_driving_policy("lstm", head="light", reads="all")
