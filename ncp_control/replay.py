"""Replay recordings through a policy and record the activity of its circuit."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ncp_control.cells.base import reference_tensor
from ncp_control.circuit import Activity
from ncp_control.episode import Episode
from ncp_control.learning.demonstrations.store import Demonstrations
from ncp_control.policy import Policy, at_least_single, to_numpy
from ncp_control.records import record_frame, sensor_names

_CHUNK_FRAMES = 64


def replay(
    policy: Policy,
    recording: Demonstrations,
    *,
    max_frames: int = 1800,
    name: str = "",
    where: str = "",
    actor: str = "recorded",
) -> Episode:
    """Run a policy on the longest episode of a recording, and record its circuit's activity.

    Args:
        policy: The policy.
        recording: The recording; its actions become the expert's actions.
        max_frames: Maximum number of frames, from the first frame of the episode on.
        name: Name of the policy.
        where: Name of the recording, for headings.
        actor: Name of the recorded driver, e.g. human: its signal is then "human steering".

    Raises:
        ValueError: If the policy does not fit the observations or the number of actions of the
            recording.
    """
    lengths = recording.episode_stops - recording.episode_starts
    frames = recording.episode(int(np.argmax(lengths)))
    frames = slice(frames.start, min(frames.stop, frames.start + max_frames))
    dt_s = np.array(recording.dt_s[frames])
    actions = np.array(recording.actions[frames])
    if policy.action_size != actions.shape[1]:
        raise ValueError(
            f"`recording` must hold {policy.action_size} actions a frame, as the policy gives, got"
            f" {actions.shape[1]}. Choose the policy that learned from such a recording."
        )
    observations = np.array(recording.observations[frames])  # a copy: the store is read-only
    fields = {"name": name, "where": where, "expert_actions": actions, "expert_name": actor}
    episode = show(policy, observations, dt_s, **fields)
    names = episode.action_names
    recorded = {f"{actor} {one}": of_one for one, of_one in zip(names, actions.T, strict=True)}
    return replace(
        episode,
        signals={**episode.signals, **recorded},
        overlays=dict(zip(recorded, names, strict=True)),
    )


def show(policy: Policy, observations: np.ndarray, dt_s: np.ndarray, **fields: Any) -> Episode:
    """Run a policy on recorded observations (open loop), and record its circuit's activity.

    Args:
        policy: The policy.
        observations: Consecutive observations, shape (time, …).
        dt_s: Time since the previous observation [s], shape (time,).
        **fields: Other fields of the `Episode`, e.g. its name.

    Raises:
        ValueError: If the observations do not fit the policy.
    """
    policy = at_least_single(policy)
    contract, size = policy.contract, policy.action_size
    episode = Episode(
        time_s=np.cumsum(dt_s) - dt_s[0],
        dt_s=dt_s,
        observations=observations,
        record_frame=None if contract is None else record_frame(contract.observation),
        sensor_names=None if contract is None else sensor_names(contract.observation),
        actions=np.zeros((len(dt_s), size)),
        rewards=np.zeros(len(dt_s)),
        **fields,
    )
    episode = with_activity(policy, episode)
    actions = policy.command(
        to_numpy(policy.respond(episode.recorded_activity.outputs).detach()[0])
    )
    names = [f"action {i}" for i in range(size)]
    if episode.has_frames and size == 1:
        names = ["steering"]
    if contract is not None:
        names = [entry.name for entry in contract.action]
    signals = dict(zip(names, actions.T, strict=True))
    return replace(episode, actions=actions, action_names=names, signals=signals)


def with_activity(policy: Policy, episode: Episode) -> Episode:
    """Return an episode with the inputs and the activity of the policy's circuit.

    `sensor_names` then names the inputs of the circuit: the features of the head first, then the
    numbers; None if the policy has an encoder. Colour frames of the observations become the
    `pictures`, unless the episode has pictures already.
    """
    features, activity = look_inside(
        at_least_single(policy), episode.recorded_observations, episode.dt_s
    )
    named = None if getattr(policy, "encoder_widths", ()) else episode.sensor_names
    if named is not None:  # a head's features come before the numbers
        num_features = features.shape[1] - len(named)
        named = [*(f"feature {i}" for i in range(num_features)), *named]
    is_colour = episode.has_frames and episode.frames.shape[3] == 3
    return replace(
        episode,
        features=features,
        activity=activity,
        sensor_names=named,
        pictures=episode.frames if episode.pictures is None and is_colour else episode.pictures,
    )


@torch.no_grad()
def look_inside(
    policy: Policy, observations: np.ndarray, dt_s: np.ndarray
) -> tuple[np.ndarray, Activity]:
    """Return the circuit's inputs for consecutive observations, and the circuit's activity.

    Args:
        policy: The policy; it is put in evaluation mode.
        observations: Observations, shape (time, …).
        dt_s: Time since the previous observation [s], shape (time,).

    Returns:
        Inputs of the circuit, shape (time, input), and the activity for a batch of one.
    """
    device = reference_tensor(policy.eval()).device
    chunks = [
        policy.perceive(policy.read_observations(observations[i : i + _CHUNK_FRAMES]))
        for i in range(0, len(observations), _CHUNK_FRAMES)
    ]
    features = torch.cat(chunks)
    elapsed_s = torch.as_tensor(dt_s, dtype=torch.float32)[None].to(device)
    return to_numpy(features), policy.circuit.record(features[None], dt_s=elapsed_s)
