"""An update whose minibatches are shared is sb3-contrib's own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure

from ncp_control import GRU
from ncp_control.learning.reinforcement.shared_update import update
from ncp_control.learning.team import _put_gradient, _share_of_gradient


class Played:
    """A team whose members are played by one process."""

    def __init__(self, size, helper):
        self.size, self.helper = size, helper

    def take_gradient(self, shared, model, batch):
        shares = shared.split(batch, self.size)
        assert len(shares) == self.size
        self.helper.load_state_dict(model.state_dict())
        shares = pickle.loads(pickle.dumps(shares))
        return _put_gradient(
            shared, model, sum(_share_of_gradient(shared, self.helper, one) for one in shares)
        )


def rolled_out(learner, cell, **changes):
    """Return a learner with a rollout of one seed, before its first update."""
    model = learner(cell, **changes.pop("policy", {}))
    for name, value in changes.items():
        setattr(model, name, value)
    model.set_logger(configure(None, []))
    _, callback = model._setup_learn(240, None)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    model._update_current_progress_remaining(model.num_timesteps, 480)
    return model


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {"policy": {"timed": True}},
        {"clip_range_vf": lambda _: 0.05, "ent_coef": 0.01, "normalize_advantage": False},
        {"target_kl": 1e-5, "policy": {"critic_cell": GRU(1, 6, 6)}},
    ],
    ids=["timed", "clipped", "stopped"],
)
def test_a_shared_update_is_that_of_one_process(learner, liquid, size, changes):
    cell = liquid()
    alone, shared = (rolled_out(learner, cell, **copy.deepcopy(changes)) for _ in range(2))
    np.testing.assert_array_equal(alone.rollout_buffer.rewards, shared.rollout_buffer.rewards)
    helper = pickle.loads(pickle.dumps(shared.policy))
    state = torch.get_rng_state()
    alone.train()
    torch.set_rng_state(state)
    update(shared, Played(size, helper), shared.sequence_length)
    before = learner(cell, **changes.get("policy", {})).policy.state_dict()
    moved = 0.0
    for name, value in alone.policy.state_dict().items():
        torch.testing.assert_close(shared.policy.state_dict()[name], value, rtol=1e-4, atol=2e-6)
        moved = max(moved, float((value - before[name]).abs().max()))
    assert moved > 1e-4
    told = alone.logger.name_to_value
    for name in told.keys() - {"train/std", "train/clip_range", "train/clip_range_vf"}:
        found = shared.logger.name_to_value[name]
        assert found == pytest.approx(told[name], rel=1e-3, abs=1e-5), name
    assert alone._n_updates == shared._n_updates
