"""How far back a policy remembers, and whether it needs to.

Two questions about the same episode:

*Wiping.* The state is cleared before every k-th frame of an episode, as it is when an episode
begins. What this changes in the actions, on the same observations (open loop), is told as the
correlation with the intact actions and as their root mean square difference; `WipingPilot` does
the same while a policy acts in a world (closed loop), where the world's own measures tell the cost.

*Reach.* With features u and the action a before it is clipped,

    R(k) = mean over t of ‖ ∂a(t) / ∂u(t − k) ‖  (Frobenius norm)

is how strongly an action depends on what was seen k frames ago. It is the exact gradient through
the circuit, along the recorded states. A linear leaky neuron has R(k) = R(0) exp(−k Δt / τ), whose
half-life is τ ln 2.

A half-life and a wipe test can disagree: a policy may carry much of the past in its state and not
act upon it, and a little of the past may decide whether a robot stays on its feet.

Source of the gradient by lag: Pascanu et al. 2013 (arXiv 1211.5063), section 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncp_control.audit.checks import check_finite, check_num_frames
from ncp_control.learning.closed_loop import Info, PolicyPilot
from ncp_control.policy import Policy
from ncp_control.ranges import check_count

UNUSED_SHARE = 0.1
"""Memory is not used where wiping the state before every frame changes the actions by less than
this share of their own deviation: less than 1 % of their variance."""
UNUSED_COST = 0.05
"""And where it certainly changes the mean return, in a world, by less than this share of it."""
MAX_LAGS = 64
"""Frames that `reach_of` looks back."""
NUM_FRAMES = 32
"""Frames over which `reach_of` averages, spread evenly over the episode."""


@dataclass(frozen=True, kw_only=True)
class WipeEffect:
    """What wiping the state before every k-th frame changes, on the same observations.

    Of an action that is a choice, the scores of the choices are meant.
    """

    every: int
    """The state is cleared before every `every`-th frame."""
    correlation: float
    """Correlation of the actions with the intact ones, all entries together, each about its own
    mean; NaN if either stands still."""
    rms: float
    """Root mean square difference of the actions."""
    share: float
    """`rms` divided by the intact actions' root mean square deviation from their means; infinite if
    they do not vary and the others do, 0 if nothing changes."""


def wipe_effects(
    policy: Policy,
    features: Float[Tensor, "time input"],
    dt_s: Float[Tensor, " time"],
    every: Sequence[int] = (1,),
) -> list[WipeEffect]:
    """Compare the actions of a wiped policy with those of the intact one, in open loop.

    Args:
        policy: The policy.
        features: What its circuit is given, one row a frame.
        dt_s: Time elapsed before each frame [s].
        every: How often the state is wiped, one effect each: 1 for before every frame.

    Raises:
        ValueError: If an entry of `every` is no positive whole number, there are fewer than two
            frames, or an action is not finite.
    """
    check_num_frames("features", np.asarray(features), 2)
    frames = torch.arange(len(features))
    whole = _actions(policy, features, dt_s, frames < 0)
    effects = []
    for k in every:
        wiped = _actions(policy, features, dt_s, frames % check_count("every", k) == 0)
        effects.append(compare_actions(whole, wiped, k))
    return effects


def compare_actions(whole: np.ndarray, wiped: np.ndarray, every: int) -> WipeEffect:
    """Compare actions of shape (time, action): those with the whole memory, and the others."""
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


@torch.no_grad()
def _actions(policy: Policy, features: Tensor, dt_s: Tensor, reset: Tensor) -> np.ndarray:
    """Return the actions (time, action) of a policy whose state is cleared where `reset` says."""
    outputs, _ = policy.circuit(features[None], dt_s=dt_s[None], reset=reset[None])
    return check_finite("actions", policy.limit(policy.respond(outputs))[0].cpu().double().numpy())


class WipingPilot:
    """Let a policy act in worlds side by side, its state wiped before every k-th frame.

    Frames count from the beginning of each episode. A memory outside the circuit is not wiped.

    Args:
        policy: The policy; it is put in evaluation mode.
        every: The state is wiped before every `every`-th frame: 1 for before every frame.

    Raises:
        ValueError: If `every` is no positive whole number.
    """

    def __init__(self, policy: Policy, every: int) -> None:
        self._pilot = PolicyPilot(policy)
        self._every = check_count("every", every)
        self._frame = np.zeros(0, dtype=np.int64)

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return actions as `PolicyPilot`."""
        # Where all episodes begin there may be another number of worlds than before.
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
    """How strongly an action depends on what was seen some frames before."""

    norm: np.ndarray
    """R(k) for k = 0, 1, …, action per unit of a feature, shape (lags,)."""
    frame_s: float
    """Interval between frames [s]."""

    @property
    def half_life_frames(self) -> float:
        """Lag after which less than half of the largest R remains; see `lag_of`."""
        return self.lag_of(0.5)

    @property
    def half_life_s(self) -> float:
        """The same in seconds."""
        return self.half_life_frames * self.frame_s

    def lag_of(self, share: float) -> float:
        """Return the lag [frames] from which on R stays below a share of its largest value.

        Between two lags, R is taken to fall exponentially, so the value is exact for a linear leaky
        neuron. Infinite if R does not get there within the lags that were computed; NaN if R is 0
        throughout.
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
    """Compute how strongly actions depend on earlier frames, by the gradient along an episode.

    Args:
        policy: The policy.
        features: What its circuit was given, one row a frame.
        dt_s: Time elapsed before each frame [s].
        state_before: State before each frame; see `Activity.states_before`.
        max_lags: Largest number of frames to look back; an episode shorter than twice as many
            frames is looked back over half of it.
        num_frames: Over how many frames the norm is averaged.

    Raises:
        ValueError: If there are fewer than two frames, or a gradient is not finite.
    """
    check_num_frames("features", np.asarray(features), 2)
    lags = min(max_lags, len(features) // 2)
    num_frames = min(num_frames, len(features) - lags)
    last = torch.linspace(len(features) - 1, lags, num_frames).round().long()
    window = last[:, None] + torch.arange(-lags, 1)
    seen = features[window].clone().requires_grad_()
    outputs, _ = policy.circuit(seen, state_before[window[:, 0]], dt_s=dt_s[window])
    actions = policy.respond(outputs[:, -1])
    squares = torch.zeros(window.shape, dtype=torch.float64)
    for entry in actions.unbind(dim=1):
        (gradient,) = torch.autograd.grad(entry.sum(), seen, retain_graph=True)
        squares += gradient.detach().cpu().double().square().sum(dim=2)
    norm = check_finite("gradients", squares.sqrt().mean(dim=0).flip(0).numpy())
    return Reach(norm=norm, frame_s=float(dt_s.double().median()))


def describe_wipe(effect: WipeEffect) -> str:
    """Say in plain words whether memory is used, from what wiping before every frame does."""
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
    """Say how much wiping before every frame changes the actions."""
    changed = f"changes the actions by {effect.share:.2g} of their own deviation"
    if math.isinf(effect.share):
        changed = "changes the actions, which stand still otherwise"
    return f"wiping the state before every frame {changed} (r = {effect.correlation:.3f})"


def describe_reach(reach: Reach) -> str:
    """Say how fast the reach falls off."""
    half, tenth = reach.half_life_frames, reach.lag_of(0.1)
    if math.isnan(half):
        return "It is 0 throughout: nothing that is seen moves the actions."
    return (
        f"It falls to half {_lag(half, reach)} and to a tenth {_lag(tenth, reach)}"
        f" (frame interval {1e3 * reach.frame_s:.3g} ms)."
    )


def _lag(frames: float, reach: Reach) -> str:
    if math.isinf(frames):
        most = len(reach.norm) - 1
        return f"later than {most} frames ({most * reach.frame_s:.3g} s)"
    return f"after {1e3 * frames * reach.frame_s:.3g} ms ({frames:.2g} frames)"
