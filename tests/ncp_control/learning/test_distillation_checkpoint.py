import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from ncp_control import Circuit
from ncp_control.cells import GRU
from ncp_control.learning.distillation_checkpoint import (
    CHECKPOINT,
    Training,
    load_training,
    rounds_done,
    save_training,
)


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
        return Training(
            policy=policy,
            averaged=averaged,
            optimizer=optimizer,
            round=2,
            best_return=5.0,
            loss=0.1,
        )

    return make


@pytest.fixture
def path(tmp_path, make_training):
    path = tmp_path / "checkpoints" / CHECKPOINT
    save_training(make_training(), path)
    return path


def rewrite(path, tensors=None, **state):
    """Change tensors and states of a checkpoint."""
    with safe_open(path, "pt") as file:
        kept = json.loads(file.metadata()["state"])
    content = load_file(path) | (tensors or {})
    save_file(content, path, metadata={"state": json.dumps(kept | state)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_training_is_read_as_written(tmp_path, make_training, dtype):
    written, read = make_training(dtype=dtype), make_training(dtype=dtype)
    save_training(written, tmp_path / CHECKPOINT)
    load_training(read, tmp_path / CHECKPOINT, 2)
    for name in ("policy", "averaged"):
        states = getattr(written, name).state_dict(), getattr(read, name).state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    moments = [training.optimizer.state_dict()["state"][0] for training in (written, read)]
    assert all(torch.equal(moments[0][key], moments[1][key]) for key in moments[0])
    assert (read.round, read.best_return, read.loss) == (2, 5.0, 0.1)


def test_a_training_of_another_student_is_refused(path, make_training):
    other = make_training(units=5)
    before = [weight.clone() for weight in other.policy.parameters()]
    with pytest.raises(ValueError, match=r"does not fit .*: it has `policy\..* of shape"):
        load_training(other, path, 2)
    assert all(map(torch.equal, before, other.policy.parameters())), "nothing was changed"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-6]), "got a damaged file"),
        (lambda path: path.write_bytes(b""), "got a damaged file"),
        (lambda path: path.write_bytes(b"\xff" * 9), "got a damaged file"),
        (lambda path: save_file({"x": torch.zeros(3)}, path), "got a damaged file"),
        (lambda path: rewrite(path, round="2"), "got a damaged file"),
        (lambda path: rewrite(path, round=-1), "got a damaged file"),
        (lambda path: rewrite(path, best_return=[]), "got a damaged file"),
        (lambda path: rewrite(path, extra=1), "got a damaged file"),
        (lambda path: rewrite(path, round=3), "it has 3 rounds instead of at most 2"),
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
        load_training(make_training(), path, 2)
    told = str(raised.value)
    assert (
        told.startswith(str(path))
        and "\n" not in told
        and "safetensors." not in told[len(str(path)) :]
    )
    if "damaged file" in message:
        with pytest.raises(ValueError, match=message):
            rounds_done(path.parents[1])
