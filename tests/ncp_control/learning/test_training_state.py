import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from ncp_control import Circuit
from ncp_control.cells import GRU
from ncp_control.generators import set_generators
from ncp_control.learning.training_state import CHECKPOINT, TrainingState, epochs_done


@pytest.fixture
def make_training(flat_policy):
    """A training after one step of Adam."""

    def make(units=4, dtype=torch.float32):
        policy = flat_policy(Circuit(GRU(1, units, 1))).to(dtype)
        averaged = AveragedModel(policy)
        optimizer = torch.optim.Adam(policy.parameters())
        for weight in policy.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        averaged.update_parameters(policy)
        state = TrainingState(
            model=policy, averaged=averaged, optimizer=optimizer, generator=torch.Generator()
        )
        state.epoch, state.step, state.loss, state.seconds = 2, 7, 0.1, 3.5
        state.best_epoch, state.best_score = 1, -5.0
        return state

    return make


@pytest.fixture
def path(tmp_path, make_training):
    path = tmp_path / "checkpoints" / CHECKPOINT
    make_training().save(path)
    return path


def rewrite(path, tensors=None, **state):
    """Change tensors and states of a checkpoint."""
    with safe_open(path, "pt") as file:
        kept = json.loads(file.metadata()["state"])
    content = load_file(path) | (tensors or {})
    save_file(content, path, metadata={"state": json.dumps(kept | state)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_training_is_read_as_written(tmp_path, make_training, dtype):
    written, read = make_training(dtype=dtype), make_training(units=4, dtype=dtype)
    written.epoch_began = torch.Generator().manual_seed(8).get_state()
    written.save(tmp_path / CHECKPOINT)
    drawn = torch.rand(3)  # after the state of torch's own generator was saved
    read.load(tmp_path / CHECKPOINT, 2)
    for name in ("model", "averaged"):
        states = getattr(written, name).state_dict(), getattr(read, name).state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all(torch.equal(read.best[name], value) for name, value in written.best.items())
    moments = [training.optimizer.state_dict()["state"][0] for training in (written, read)]
    assert all(torch.equal(moments[0][key], moments[1][key]) for key in moments[0])
    assert torch.equal(read.epoch_began, written.epoch_began)
    for name in ("epoch", "step", "loss", "seconds", "best_epoch", "best_score"):
        assert getattr(read, name) == getattr(written, name)
    set_generators(read.stopped_at, read.device)
    assert torch.equal(torch.rand(3), drawn)


def test_a_training_that_was_not_judged_yet_is_read_as_written(tmp_path, make_training):
    written, read = make_training(), make_training()
    written.epoch, written.best_epoch, written.best_score = 0, 0, math.inf
    written.save(tmp_path / CHECKPOINT)
    read.load(tmp_path / CHECKPOINT, 2)
    assert (read.epoch, read.best_epoch, read.best_score) == (0, 0, math.inf)


def test_moments_keep_the_layout_of_their_weights(tmp_path):
    """Arithmetic in another layout may round otherwise."""

    def make():
        model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(2, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        return TrainingState(
            model=model, averaged=None, optimizer=optimizer, generator=torch.Generator()
        )

    written, read = make(), make()
    written.save(tmp_path / CHECKPOINT)
    read.load(tmp_path / CHECKPOINT, 2)
    for training in (written, read):
        moment = training.optimizer.state_dict()["state"][0]["exp_avg"]
        assert moment.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moment, written.optimizer.state_dict()["state"][0]["exp_avg"])


def test_a_training_of_another_model_is_refused(path, make_training):
    other = make_training(units=5)
    before = [weight.clone() for weight in other.model.parameters()]
    with pytest.raises(ValueError, match=r"does not fit .*: it has `.*` of shape"):
        other.load(path, 2)
    assert all(map(torch.equal, before, other.model.parameters())), "nothing was changed"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-6]), "got a damaged file"),
        (lambda path: path.write_bytes(b""), "got a damaged file"),
        (lambda path: path.write_bytes(b"\xff" * 9), "got a damaged file"),
        (lambda path: save_file({"x": torch.zeros(3)}, path), "got a damaged file"),
        (lambda path: rewrite(path, epoch="2"), "got a damaged file"),
        (lambda path: rewrite(path, epoch=-1), "got a damaged file"),
        (lambda path: rewrite(path, best_score=[]), "got a damaged file"),
        (lambda path: rewrite(path, extra=1), "got a damaged file"),
        (lambda path: rewrite(path, best_score=None), "got a damaged file"),
        (lambda path: rewrite(path, best_score=math.inf), "must hold finite numbers"),
        (
            lambda path: rewrite(path, {"generator.epoch": torch.ones(5056, dtype=torch.uint8)}),
            "got a damaged file",
        ),
        (lambda path: rewrite(path, {"generator.epoch": torch.zeros(3)}), "`generator.epoch` of"),
        (lambda path: rewrite(path, epoch=3), "it has 3 epochs instead of at most 2"),
        (lambda path: rewrite(path, loss=float("nan")), "must hold finite numbers"),
        (lambda path: rewrite(path, {"x": torch.zeros(1)}), "it has `x`"),
        (
            lambda path: rewrite(path, {"optimizer.0.exp_avg": torch.zeros(1)}),
            r"`optimizer.state.0.exp_avg` of shape \(1,\) instead of",
        ),
        (lambda path: rewrite(path, {"optimizer.x.step": torch.zeros(())}), "for no weight"),
        (
            lambda path: rewrite(path, {"optimizer.0.step": torch.tensor(torch.inf)}),
            "must hold finite numbers",
        ),
    ],
)
def test_damaged_checkpoints_end_in_one_sentence(path, make_training, damage, message):
    damage(path)
    with pytest.raises(ValueError, match=message) as raised:
        make_training().load(path, 2)
    told = str(raised.value)
    assert (
        told.startswith(str(path))
        and "\n" not in told
        and "safetensors." not in told[len(str(path)) :]
    )


def test_how_far_a_run_came_is_read_from_its_checkpoint(path, tmp_path):
    assert epochs_done(path.parents[1]) == 2
    assert epochs_done(tmp_path / "elsewhere") == -1
    rewrite(path, epoch=-1)
    with pytest.raises(ValueError, match="got a damaged file"):
        epochs_done(path.parents[1])


@pytest.mark.parametrize("was_on", ["cpu", "cuda"])
def test_a_training_goes_on_on_another_device(
    tmp_path, make_training, gpu_generator, monkeypatch, was_on
):
    """So does one on a GPU that was saved without the state of the GPU's generator."""
    written, read = make_training(), make_training()
    monkeypatch.setattr(TrainingState, "device", torch.device(was_on))
    written.save(tmp_path / CHECKPOINT)
    assert ("generator.cuda" in load_file(tmp_path / CHECKPOINT)) == (was_on == "cuda")
    is_at = torch.device("cpu" if was_on == "cuda" else "cuda")
    monkeypatch.setattr(TrainingState, "device", is_at)
    read.load(tmp_path / CHECKPOINT, 2)
    assert read.step == written.step and list(read.stopped_at) == ["torch"]


@pytest.mark.parametrize(
    ("state", "message"),
    [(torch.zeros(3), "it has `generator.cuda`"), (torch.ones(5056, dtype=torch.uint8), "damaged")],
)
def test_a_damaged_state_of_a_gpus_generator_is_refused(
    tmp_path, make_training, gpu_generator, monkeypatch, state, message
):
    monkeypatch.setattr(TrainingState, "device", torch.device("cuda", 0))
    path, before = tmp_path / CHECKPOINT, gpu_generator.get_state()
    make_training().save(path)
    rewrite(path, {"generator.cuda": state})
    with pytest.raises(ValueError, match=message):
        make_training().load(path, 2)
    assert torch.equal(gpu_generator.get_state(), before)
