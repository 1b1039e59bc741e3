"""Work of `ncp run --replay`: run a policy on a recording and compare it with a baseline.

The policy gets the observations and elapsed times of the recorded policy, and its hidden state is
cleared at the same frames. So the recorded policy, on the same back end, repeats its actions. The
baseline is the recorded actions, or another policy.
"""

import json
import time
from typing import Any

import numpy as np

from ncp_control import files
from ncp_control.audit.interval_circuit import Interval
from ncp_control.command_line import use_threads
from ncp_control.commands.run import RunPolicy
from ncp_control.contract import Contract
from ncp_control.deploy.backends import make_controller
from ncp_control.learning.run import Run, policy_name
from ncp_control.loop.monitor import certified_state, with_allowance
from ncp_control.loop.pilot import Controller, needed_contract
from ncp_control.loop.playback import PlayedTick, read_recording
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy, load, policy_folder

REPORT = "replay.json"


class Actor:
    """Policy that acts on a recording, with its actions and measurements.

    Args:
        policy: The policy.
        contract: Contract of the policy.
        backend: Back end that runs the policy, e.g. "torch".
    """

    def __init__(self, policy: Policy, contract: Contract, backend: str) -> None:
        self.actions: list[np.ndarray] = []
        self.times_s: list[float] = []
        self.num_refused = 0
        self._controller: Controller = make_controller(policy, backend)
        self._states = Outside(certified_state(policy))
        self._outputs = Outside(_action_bounds(contract))
        self._size, self._must_reset = len(contract.action), True

    def act(self, observation: np.ndarray, asked: PlayedTick) -> None:
        """Act on one observation; refused observations are counted and get the action NaN."""
        if asked.is_reset or self._must_reset:
            self._controller.reset()
            self._must_reset = False
        begun_s = time.perf_counter()
        try:
            action = np.atleast_1d(self._controller.act(observation, asked.elapsed_s))
        except ValueError:
            self.num_refused += 1
            self._must_reset = True
            self.actions.append(np.full(self._size, np.nan))
            return
        self.times_s.append(time.perf_counter() - begun_s)
        self.actions.append(action.astype(np.float64))
        self._outputs.add(action)
        self._states.add(getattr(self._controller, "state", None))

    def to_json(self) -> dict[str, Any]:
        """Return the measurements of the policy, without the comparison."""
        ms = 1e3 * np.array(self.times_s or [np.nan])
        times = {"median": np.median(ms), "p99": np.quantile(ms, 0.99), "largest": ms.max()}
        return {
            "refused": self.num_refused,
            "share_of_actions_outside": self._outputs.share,
            "share_of_states_outside": self._states.share,
            "model_ms": {name: round(float(value), 4) for name, value in times.items()},
        }


class Outside:
    """Counts arrays with an entry outside its certified bounds.

    Args:
        bounds: Certified bounds; None if there are none.
    """

    def __init__(self, bounds: Interval | None) -> None:
        self._bounds, self._checked, self._outside = bounds, 0, 0

    def add(self, values: np.ndarray | None) -> None:
        """Check one array; None and arrays of another shape are skipped."""
        bounds = self._bounds
        if bounds is None or values is None or values.shape != bounds.low.shape:
            return
        self._checked += 1
        self._outside += not bool(((values >= bounds.low) & (values <= bounds.high)).all())

    @property
    def share(self) -> float | None:
        """Share of checked arrays that were outside; None if none was checked."""
        return self._outside / self._checked if self._checked else None


def replay_recording(settings: RunPolicy) -> None:
    """Run policies on a recording; print and write the comparison.

    Raises:
        ValueError: If a policy does not fit the recording, or nothing can be compared.
        SystemExit: With status 1 if the actions differ by more than the tolerance, or there is a
            tolerance and the policy refused an observation.
    """
    use_threads(1)
    assert settings.replay is not None
    played = read_recording(settings.replay)
    actors, loaded = {}, {}
    for name in (settings.policy, settings.baseline):
        if name is not None and name not in actors:
            policy = loaded[name] = load(name)
            contract = needed_contract(policy)
            contract.check_offer(played.contract, f"the recording '{played.path}'")
            actors[name] = Actor(policy, contract, settings.backend)
    recorded = []
    for _, observation, asked in played.asked():
        for actor in actors.values():
            actor.act(observation, asked)
        recorded.append(_or_nan(asked.action, len(played.contract.action)))
    if not recorded:
        raise ValueError(
            f"`replay` must hold a tick in which the policy was asked, got none in"
            f" '{played.path}'. Record a drive."
        )
    actor = actors[settings.policy]
    baseline = recorded if settings.baseline is None else actors[settings.baseline].actions
    found = compare(np.array(actor.actions), np.array(baseline), played.contract)
    against = settings.baseline or f"the recorded actions of {played.policy or 'a policy'}"
    report = {"policy": settings.policy, "recording": str(played.path), "baseline": against,
              "ticks": len(recorded), "skipped": played.skipped().counts, "actions": found,
              **actor.to_json()}  # fmt: skip
    run = Run.create(
        "replay",
        policy_name(policy_folder(settings.policy)),
        settings,
        root=settings.runs,
        tested=loaded,
    )
    run.report.mkdir(exist_ok=True)
    files.write_file(run.report / REPORT, json.dumps(report, indent=1) + "\n")
    print_replay(report)
    print(f"report: {run.report / REPORT}")
    _check_tolerance(found, actor.num_refused, settings.tolerance)


def compare(actions: np.ndarray, baseline: np.ndarray, contract: Contract) -> list[dict[str, Any]]:
    """Return the largest and the RMS difference of each entry of the action.

    Choices differ by 1 or not at all. Ticks in which one policy has no action (NaN) are left out.

    Args:
        actions: Actions, shape (ticks, action).
        baseline: Actions to compare with, shape (ticks, action).
        contract: Contract with the names of the entries.

    Raises:
        ValueError: If no tick is left.
    """
    is_known = np.isfinite(actions).all(axis=1) & np.isfinite(baseline).all(axis=1)
    if not is_known.any():
        raise ValueError("`replay` must hold a tick in which both policies act, got none.")
    difference = np.abs(actions - baseline)[is_known]
    if contract.choices:
        difference = (difference > 0.0).astype(np.float64)
    largest, mean_squares = difference.max(axis=0), np.mean(difference**2, axis=0)
    return [
        {"name": entry.name, "compared": int(is_known.sum()), "largest": float(most),
         "rms": float(np.sqrt(mean_square))}
        for entry, most, mean_square in zip(contract.action, largest, mean_squares, strict=True)
    ]  # fmt: skip


def print_replay(report: dict[str, Any]) -> None:
    """Print a comparison as a table."""
    print(f"{report['policy']} against {report['baseline']}, {report['ticks']} ticks")
    rows = [
        [entry["name"], f"{entry['largest']:.3g}", f"{entry['rms']:.3g}", str(entry["compared"])]
        for entry in report["actions"]
    ]
    print(markdown_table(["action", "largest difference", "RMS difference", "ticks"], rows))
    shares = [report[f"share_of_{what}_outside"] for what in ("actions", "states")]
    texts = ["not certified" if share is None else f"{share:.2%}" for share in shares]
    ms = report["model_ms"]
    rows = [
        ["actions outside their certified bounds", texts[0]],
        ["states outside their certified bounds", texts[1]],
        ["observations that the policy refused", str(report["refused"])],
        ["model time a step, median [ms]", f"{ms['median']:.3f}"],
        ["model time a step, p99 [ms]", f"{ms['p99']:.3f}"],
        ["model time a step, largest [ms]", f"{ms['largest']:.3f}"],
    ]
    print(markdown_table(["", "policy"], rows))
    for what, number in report["skipped"].items():
        print(f"skipped: {what}: {number}")


def _check_tolerance(found: list[dict[str, Any]], refused: int, tolerance: float | None) -> None:
    """Exit with status 1 if a difference exceeds the tolerance, or an observation was refused."""
    if tolerance is None:
        return
    worst = max(found, key=lambda entry: entry["largest"])
    if worst["largest"] > tolerance:
        raise SystemExit(
            f"failed: {worst['name']} differs by up to {worst['largest']:.3g} from the baseline,"
            f" more than the tolerance of {tolerance:g}"
        )
    if refused:
        raise SystemExit(f"failed: the policy refused {refused} observations")


def _action_bounds(contract: Contract) -> Interval | None:
    """Return the certified bounds of the actions, clipped to their ranges; None without bounds."""
    if contract.choices or any(entry.certified is None for entry in contract.action):
        return None
    bounds = np.array([entry.certified for entry in contract.action])
    ranges = np.array([entry.range for entry in contract.action])
    low, high = bounds.clip(ranges[:, :1], ranges[:, 1:]).T
    return with_allowance(Interval(low, high))


def _or_nan(action: np.ndarray | None, size: int) -> np.ndarray:
    return np.full(size, np.nan) if action is None else action.astype(np.float64)
