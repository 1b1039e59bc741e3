"""Memory of a policy: how far back it reaches, and whether the policy needs it.

There are two measurements on the same episode:

*Wiping.* The hidden state is reset before every k-th frame of an episode. The effect on the
actions, for the same observations (open loop), is measured by the correlation with the original
actions and by the root mean square difference. `WipingPilot` does the same while a policy acts in
an environment (closed loop), where the metrics of the environment show the cost.

*Reach.* With features u and the action a before clipping,

    R(k) = mean over t of ‖ ∂a(t) / ∂u(t − k) ‖  (Frobenius norm)

measures how strongly an action depends on the features k frames earlier. It is the exact gradient
through the circuit, along the recorded states. A linear leaky neuron has R(k) = R(0) exp(−k Δt / τ)
with half-life τ ln 2.

The two can disagree: a policy may store much of the past in its state without using it, and a small
dependence on the past may decide whether a robot falls.

Source of the gradient by lag: Pascanu et al. 2013 (arXiv 1211.5063), section 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncp_control.acting.closed_loop import Info, PolicyPilot
from ncp_control.audit.activity import actions_on
from ncp_control.audit.checks import check_finite, check_num_frames
from ncp_control.audit.timescales import time_unit
from ncp_control.policy import Policy
from ncp_control.ranges import check_count

UNUSED_SHARE = 0.1
"""Open-loop threshold. Memory counts as not used if wiping the state before every frame changes the
actions by less than this fraction of their deviation, i.e. less than 1 % of their variance."""
UNUSED_COST = 0.05
"""Closed-loop threshold. Memory counts as not used if wiping certainly changes the mean return by
less than this fraction of it."""
MAX_LAGS = 64
"""Default number of frames that `reach_of` looks back."""
NUM_FRAMES = 32
"""Default number of frames over which `reach_of` averages, spread evenly over the episode."""


@dataclass(frozen=True, kw_only=True)
class WipeEffect:
    """Effect of wiping the state before every k-th frame, on the same observations.

    For an action that is a choice, the effect is that on the scores of the choices.
    """

    every: int
    """The state is reset before every `every`-th frame."""
    correlation: float
    """Correlation with the original actions over all entries, each about its own mean; NaN if
    either is constant."""
    rms: float
    """Root mean square difference of the actions."""
    share: float
    """`rms` divided by the root mean square deviation of the original actions from their means;
    infinite if the original actions are constant and change, 0 if nothing changes."""


def wipe_effects(
    policy: Policy,
    features: Float[Tensor, "time input"],
    dt_s: Float[Tensor, " time"],
    every: Sequence[int] = (1,),
) -> list[WipeEffect]:
    """Return the effects of wiping the state on the actions, in open loop.

    Args:
        policy: The policy.
        features: Inputs of its circuit, one row per frame.
        dt_s: Time elapsed before each frame [s].
        every: Intervals of wiping [frames], one effect each; 1 wipes before every frame.

    Raises:
        ValueError: If an entry of `every` is not a positive integer, there are fewer than two
            frames, or an action is not finite.
    """
    check_num_frames("features", np.asarray(features), 2)
    frames = torch.arange(len(features))
    whole = actions_on(policy, features, dt_s)
    effects = []
    for k in every:
        wiped = actions_on(policy, features, dt_s, frames % check_count("every", k) == 0)
        effects.append(compare_actions(whole, wiped, k))
    return effects


def compare_actions(whole: np.ndarray, wiped: np.ndarray, every: int) -> WipeEffect:
    """Compare original actions `whole` with `wiped` actions, both of shape (time, action)."""
    centred, other = (values - values.mean(axis=0) for values in (whole, wiped))
    deviation, other_deviation = (float(np.sqrt(np.mean(x**2))) for x in (centred, other))
    rms = float(np.sqrt(np.mean((wiped - whole) ** 2)))
    product = deviation * other_deviation
    share = rms / deviation if deviation else math.inf
    return WipeEffect(
        every=every,
        correlation=float(np.mean(centred * other)) / product if product else math.nan,
        rms=rms,
        share=share if rms else 0.0,
    )


class WipingPilot:
    """Pilot that runs a policy and wipes its hidden state before every k-th frame.

    Frames are counted from the beginning of each episode. Memory outside the circuit is not wiped.

    Args:
        policy: The policy; it is switched to evaluation mode.
        every: Interval of wiping [frames]; 1 wipes before every frame.

    Raises:
        ValueError: If `every` is not a positive integer.
    """

    def __init__(self, policy: Policy, every: int) -> None:
        self._pilot = PolicyPilot(policy)
        self._every = check_count("every", every)
        self._frame = np.zeros(0, dtype=np.int64)

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return actions like `PolicyPilot`."""
        # If all episodes begin, the number of environments may have changed.
        last = np.zeros(len(reset), dtype=np.int64) if reset.all() else self._frame
        self._frame = np.where(reset, 0, last + 1)
        return self._pilot(observations, infos, dt_s, self._frame % self._every == 0)


def how_often(every: int) -> str:
    """Return how often a `WipingPilot` wipes, e.g. "before every 4th frame"; 0 for never."""
    if every <= 1:
        return "before every frame" if every else "never"
    endings = {1: "st", 2: "nd", 3: "rd"} if every % 100 not in (11, 12, 13) else {}
    return f"before every {every}{endings.get(every % 10, 'th')} frame"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Dependence of an action on the features of earlier frames."""

    norm: np.ndarray
    """R(k) for k = 0, 1, …, in action per unit of a feature, shape (lags,)."""
    frame_s: float
    """Interval between frames [s]."""

    @property
    def half_life_frames(self) -> float:
        """Lag after which R stays below half of its largest value [frames]; see `lag_of`."""
        return self.lag_of(0.5)

    @property
    def half_life_s(self) -> float:
        """Half-life in seconds."""
        return self.half_life_frames * self.frame_s

    def lag_of(self, share: float) -> float:
        """Return the lag [frames] from which R stays below a fraction of its largest value.

        R is interpolated exponentially between lags, so the value is exact for a linear leaky
        neuron. It is infinite if R does not fall below the fraction within the computed lags, and
        NaN if R is 0 for all lags.
        """
        most = float(self.norm.max())
        if most == 0.0:
            return math.nan
        above = int(np.flatnonzero(self.norm >= share * most)[-1])
        if above + 1 == len(self.norm):
            return math.inf
        before, after = float(self.norm[above]), float(self.norm[above + 1])
        if after == 0.0:
            return float(above)
        return above + math.log(before / (share * most)) / math.log(before / after)


def reach_of(
    policy: Policy,
    features: Float[Tensor, "time input"],
    dt_s: Float[Tensor, " time"],
    state_before: Float[Tensor, "time state"],
    *,
    max_lags: int = MAX_LAGS,
    num_frames: int = NUM_FRAMES,
) -> Reach:
    """Compute the dependence of actions on earlier frames from gradients along an episode.

    Args:
        policy: The policy.
        features: Inputs of its circuit, one row per frame.
        dt_s: Time elapsed before each frame [s].
        state_before: Hidden state before each frame; see `Activity.states_before`.
        max_lags: Maximum number of frames to look back, limited to half of the episode.
        num_frames: Number of frames over which the norm is averaged.

    Raises:
        ValueError: If there are fewer than two frames, or a gradient is not finite.
    """
    check_num_frames("features", np.asarray(features), 2)
    lags = min(max_lags, len(features) // 2)
    num_frames = min(num_frames, len(features) - lags)
    last = torch.linspace(len(features) - 1, lags, num_frames).round().long()
    window = last[:, None] + torch.arange(-lags, 1)
    inputs = features[window].clone().requires_grad_()
    outputs, _ = policy.circuit(inputs, state_before[window[:, 0]], dt_s=dt_s[window])
    actions = policy.respond(outputs[:, -1])
    squares = torch.zeros(window.shape, dtype=torch.float64)
    for entry in actions.unbind(dim=1):
        (gradient,) = torch.autograd.grad(entry.sum(), inputs, retain_graph=True)
        squares += gradient.detach().cpu().double().square().sum(dim=2)
    norm = check_finite("gradients", squares.sqrt().mean(dim=0).flip(0).numpy())
    return Reach(norm=norm, frame_s=float(dt_s.double().median()))


def describe_wipe(effect: WipeEffect) -> str:
    """Return a sentence on whether memory is used, given the effect of wiping every frame."""
    if effect.rms == 0.0:
        return (
            "**Memory is not used here**: wiping the state before every frame changes no action at"
            " all."
        )
    changed = change_by_wiping(effect)
    if effect.share < UNUSED_SHARE:
        rule = f"below {UNUSED_SHARE:g} counts as not used"
        return f"**Memory is not used here**: {changed}; {rule}."
    return f"**Memory shapes the actions**: {changed}. Only a world can tell whether it matters."


def change_by_wiping(effect: WipeEffect) -> str:
    """Return a text on how much wiping before every frame changes the actions."""
    changed = f"changes the actions by {effect.share:.2g} of their own deviation"
    if math.isinf(effect.share):
        changed = "changes the actions, which stand still otherwise"
    return f"wiping the state before every frame {changed} (r = {effect.correlation:.3f})"


def describe_reach(reach: Reach) -> str:
    """Return a sentence on how fast the reach decreases."""
    half, tenth = reach.half_life_frames, reach.lag_of(0.1)
    if math.isnan(half):
        return "It is 0 throughout: nothing that is seen moves the actions."
    return (
        f"It falls to half {_lag(half, reach)} and to a tenth {_lag(tenth, reach)}"
        f" (frame interval {time_unit(reach.frame_s).text(reach.frame_s)})."
    )


def _lag(frames: float, reach: Reach) -> str:
    unit = time_unit(reach.frame_s)
    if math.isinf(frames):
        most = len(reach.norm) - 1
        return f"later than {most} frames ({unit.text(most * reach.frame_s)})"
    return f"after {unit.text(frames * reach.frame_s)} ({frames:.2g} frames)"
