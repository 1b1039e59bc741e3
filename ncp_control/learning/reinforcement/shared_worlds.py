"""Parallel environments for reinforcement learning in several processes.

Each process steps a share of the environments, while stable-baselines3's own `SubprocVecEnv` starts
one process per environment. Observations, rewards and infos do not depend on the number of
processes: each environment gets the same seed and actions as in a single `DummyVecEnv`.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from ncp_control.workers import Workers, even_shares

MakeWorlds = Callable[[int], Sequence[gymnasium.Env]]
"""Builds the given number of environments."""


class SharedWorlds(VecEnv):
    """Parallel environments, distributed over processes.

    Args:
        workers: Number of processes, at most `num_worlds`.
        num_worlds: Number of environments.
        make: Builds the environments in each process; a module-level function or a
            `functools.partial` of one, since it is pickled.

    Raises:
        ValueError: If there are more processes than environments.
    """

    def __init__(self, workers: int, num_worlds: int, make: MakeWorlds) -> None:
        if workers > num_worlds:
            raise ValueError(
                f"`workers` must be at most the {num_worlds} worlds side by side, got {workers}."
                " Take fewer, or more worlds."
            )
        self._shares = even_shares(num_worlds, workers)
        self._workers = Workers(workers, _begin, make)
        try:
            observation_space, action_space = self._all(
                [("make", share.stop - share.start) for share in self._shares]
            )[0]
            super().__init__(num_worlds, observation_space, action_space)
        except BaseException:
            self._workers.close()
            raise

    def reset(self) -> Any:
        """Start an episode in every environment, with the seeds and options that were set."""
        shares = self._all(
            [("reset", self._seeds[share], self._options[share]) for share in self._shares]
        )
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [info for _, infos in shares for info in infos]
        return _joined([observations for observations, _ in shares])

    def step_async(self, actions: np.ndarray) -> None:
        """Let every process step its share."""
        self._stepped = self._workers.each([("step", actions[share]) for share in self._shares])

    def step_wait(self) -> Any:
        """Return observations, rewards, dones and infos of all environments."""
        observations, rewards, dones, infos, begun = zip(*self._stepped(), strict=True)
        all_infos, self.reset_infos = (
            list(itertools.chain.from_iterable(x)) for x in (infos, begun)
        )
        return _joined(observations), np.concatenate(rewards), np.concatenate(dones), all_infos

    def close(self) -> None:
        """Stop the worker processes."""
        self._workers.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of each environment."""
        return self._call("get_attr", indices, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of each environment."""
        self._call("set_attr", indices, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of each environment and return the results."""
        return self._call("env_method", indices, method_name, *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> Any:
        """Return whether each environment is wrapped in `wrapper_class`."""
        return self._call("env_is_wrapped", indices, wrapper_class)

    def generator_states(self) -> list[Any]:
        """Return the states of all random generators of the environments; see `generators`."""
        states = self._all([("generator_states",)] * len(self._shares))
        return list(itertools.chain.from_iterable(states))

    def set_generator_states(self, states: Sequence[Any]) -> None:
        """Set the states of the random generators of the environments.

        Raises:
            ValueError: If there is not one state for each generator.
        """
        counts = [len(one) for one in self._all([("generator_states",)] * len(self._shares))]
        if sum(counts) != len(states):
            raise ValueError(f"`states` must be {sum(counts)} states, got {len(states)}.")
        rest = iter(states)
        parts = [list(itertools.islice(rest, count)) for count in counts]
        self._all([("set_generator_states", part) for part in parts])

    def _all(self, tasks: Sequence[Any]) -> list[Any]:
        return self._workers.each(tasks)()

    def _call(self, name: str, indices: Any, *words: Any, **options: Any) -> list[Any]:
        """Call a method of the `DummyVecEnv`s; return the results in the order of `indices`."""
        chosen = [range(self.num_envs)[i] for i in self._get_indices(indices)]  # -1 is the last
        places = [
            [i - share.start for i in range(share.start, share.stop) if i in chosen]
            for share in self._shares
        ]
        results = self._all([("call", name, place, words, options) for place in places])
        # By number of the world.
        values = itertools.chain.from_iterable(one or [] for one in results)
        of_world = dict(zip(sorted(set(chosen)), values, strict=False))
        return [of_world[i] for i in chosen if i in of_world]


def generators(worlds: Iterable[gymnasium.Env]) -> list[np.random.Generator]:
    """Return the generators of environments and of their wrappers, outermost first."""
    found: list[np.random.Generator] = []
    for world in worlds:
        layer: Any = world
        while True:
            held = vars(layer).values()
            found += [value for value in held if isinstance(value, np.random.Generator)]
            if layer is world.unwrapped:
                break
            layer = layer.env
    return found


def _begin(make: MakeWorlds) -> Callable[[tuple[Any, ...]], Any]:
    """Return the function that a process applies to each task it receives."""
    torch.set_num_threads(1)
    venv: Any = None

    def work(task: tuple[Any, ...]) -> Any:
        nonlocal venv
        kind, *arguments = task
        if kind == "make":
            worlds = make(*arguments)
            venv = DummyVecEnv([lambda world=world: world for world in worlds])
            return venv.observation_space, venv.action_space
        if kind == "reset":
            venv._seeds, venv._options = arguments
            return venv.reset(), venv.reset_infos
        if kind == "step":
            return *venv.step(*arguments), venv.reset_infos
        if kind == "generator_states":
            return [one.bit_generator.state for one in generators(venv.envs)]
        if kind == "set_generator_states":
            for one, state in zip(generators(venv.envs), *arguments, strict=True):
                one.bit_generator.state = state
            return None
        name, places, words, options = arguments
        return getattr(venv, name)(*words, indices=places, **options)

    return work


def _joined(shares: Sequence[Any]) -> Any:
    """Join the observations of all shares: arrays, or dictionaries of arrays."""
    if isinstance(shares[0], dict):
        return {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}
    return np.concatenate(shares)
