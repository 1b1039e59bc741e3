import copy

import numpy as np
import pytest
import torch

from ncp_control import VectorPolicy
from ncp_control.kernels.build import BuildError, find_compiler

ELAPSED_S = (0.0, 1 / 30, 0.1, 0.005)


@pytest.fixture(autouse=True)
def _compiler():
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


@pytest.fixture
def policy_on():
    """Return a policy on numbers around a cell."""

    def make(cell, **settings):
        return VectorPolicy(cell, observation_size=cell.input_size, **settings).eval()

    return make


@pytest.fixture
def largest_step_error():
    """Return how far the C goes from plain torch in double precision in any one step.

    Both begin each step at the state that the C has reached. Returns the largest differences of
    state (relative where it is larger than 1) and of the action, and the largest relative
    difference of the time constants.
    """

    @torch.no_grad()
    def compare(policy, controller, observations, dt_s):
        exact = copy.deepcopy(policy).double()
        cell = exact.circuit.cell
        errors = np.zeros(3)
        for observation, elapsed_s in zip(observations, dt_s, strict=True):
            start = torch.from_numpy(controller.state.copy()).double()[None]
            action = controller.act(observation, float(elapsed_s))
            seen = torch.from_numpy(observation)[None, None]
            wanted, state = exact(seen, start, dt_s=float(elapsed_s))
            state = state[0].numpy()
            found = [
                (np.abs(state - controller.state) / np.maximum(1.0, np.abs(state))).max(),
                np.abs(wanted[0, 0].clamp(-1.0, 1.0).numpy() - action).max(),
                0.0,
            ]
            if cell.has_timescales:
                ended = torch.from_numpy(controller.state.copy()).double()[None]
                tau_s = cell.timescales(exact.perceive(seen[:, 0]), ended)[0].numpy()
                ratio = controller.time_constants_s() / tau_s
                assert (np.isnan(ratio) == np.isnan(tau_s)).all()
                found[2] = np.nanmax(np.abs(ratio - 1.0))
            errors = np.maximum(errors, found)
        return errors

    return compare


@pytest.fixture
def drawn():
    """Return observations and irregular times, 0 included."""

    def draw(policy, num_steps, seed=0):
        generator = np.random.default_rng(seed)
        size = (num_steps, policy.observation_size)
        noise = generator.standard_normal(size)
        mean, std = policy.observation_mean.numpy(), policy.observation_std.numpy()
        observations = (mean + std * noise).astype(np.float32)
        return observations, generator.choice(ELAPSED_S, num_steps).astype(np.float32)

    return draw
