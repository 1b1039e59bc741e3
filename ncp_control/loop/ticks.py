"""Log of a loop, tick by tick, and the `Episode` and timing computed from it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.episode import Episode
from ncp_control.loop.levels import Level
from ncp_control.loop.link import Reading
from ncp_control.loop.pilot import Decision


@dataclass
class TickLog:
    """Log of all ticks of a loop."""

    contract: Contract
    name: str
    keeps_observations: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    infos: list[dict[str, float]] = field(default_factory=list)
    observations: list[np.ndarray] = field(default_factory=list)
    _last_s: float | None = None
    """Time of the last tick, also of a recorded one in which a person drove, since the loop began
    [s]."""

    def add(
        self,
        reading: Reading | None,
        decision: Decision,
        *,
        time_s: float,
        model_s: float,
        jitter_s: float,
        is_late: bool,
    ) -> None:
        """Add a tick.

        Args:
            reading: The reading; None if none came.
            decision: Decision of the pilot about it.
            time_s: Time since the loop began [s].
            model_s: Time that monitor and policy took [s].
            jitter_s: Delay with which the tick began [s].
            is_late: Whether the tick missed its deadline.
        """
        before_s = self.rows[-1]["time_s"] if self.rows else time_s - self.contract.frame_s
        self._last_s = time_s
        info = dict(self.infos[-1]) if self.infos else {}
        if "reward" in info:
            info["reward"] = 0.0  # a reward counts only once
        info.update({} if reading is None else reading.info)
        self.infos.append(info)
        self.rows.append(
            {"time_s": time_s, "dt_s": time_s - before_s, "command": np.array(decision.command),
             "level": int(decision.level), "model_s": model_s, "jitter_s": jitter_s,
             "is_late": is_late, "was_asked": decision.elapsed_s is not None,
             "action": decision.action, "elapsed_s": decision.elapsed_s,
             "is_reset": decision.is_reset, "is_manual": False}
        )  # fmt: skip
        if self.keeps_observations and reading is not None and reading.observation is not None:
            self.observations.append(reading.observation)

    def add_manual(self, command: np.ndarray, *, time_s: float) -> dict[str, Any]:
        """Return the row of a tick in which a person drove; the log does not keep it.

        Args:
            command: The person's command.
            time_s: Time since the loop began [s].

        Raises:
            ValueError: If the command has another shape than those of the contract.
        """
        shape = (len(self.contract.action),)
        if np.shape(command) != shape:
            raise ValueError(
                f"`command` of a reading must be of shape {shape}, as the contract's, got"
                f" {np.shape(command)}. Correct the link."
            )
        before_s = time_s - self.contract.frame_s if self._last_s is None else self._last_s
        self._last_s = time_s
        return {"time_s": time_s, "dt_s": time_s - before_s, "command": command,
                "level": int(Level.DRIVE), "model_s": 0.0, "jitter_s": 0.0, "is_late": False,
                "action": None, "elapsed_s": None, "is_reset": False,
                "is_manual": True}  # fmt: skip

    def _column(self, name: str) -> np.ndarray:
        return np.array([row[name] for row in self.rows])

    def episode(self) -> Episode:
        """Return the ticks as an episode; with observations if all ticks had one of equal shape."""
        actions = self._column("command").reshape(len(self.rows), len(self.contract.action))
        names = [entry.name for entry in self.contract.action]
        known = set(self.infos[0]).intersection(*self.infos) if self.infos else set()
        infos = {key: np.array([row[key] for row in self.infos]) for key in sorted(known)}
        infos |= {key: self._column(key) for key in ("level", "model_s", "was_asked")}
        observations, notes = None, ()
        if self.keeps_observations:
            sizes = {(one.shape, one.dtype) for one in self.observations}
            if len(self.observations) == len(self.rows) and len(sizes) == 1:
                observations = np.stack(self.observations)
            else:
                notes = ("Observations are left out: some ticks had none, or one of another size.",)
        return Episode(
            time_s=self._column("time_s"),
            dt_s=self._column("dt_s"),
            actions=actions,
            rewards=infos.get("reward", np.zeros(len(self.rows))),
            infos=infos,
            observations=observations,
            name=self.name,
            where=self.contract.world,
            action_names=names,
            signals=dict(zip(names, actions.T, strict=True)),
            notes=notes,
        )

    def timing(self) -> dict[str, float]:
        """Return statistics of the loop's timing: deadlines, model time [ms] and jitter [ms]."""
        if not self.rows:
            return {"ticks": 0}
        asked = self._column("was_asked").astype(bool)
        model_ms = 1e3 * (self._column("model_s")[asked] if asked.any() else np.zeros(1))
        jitter_ms = 1e3 * np.abs(self._column("jitter_s"))
        late = self._column("is_late")
        numbers = {
            "ticks": len(self.rows),
            "asked": int(asked.sum()),
            "deadlines_missed": int(late.sum()),
            "share_missed": float(late.mean()),
        }
        for name, values in (("model_ms", model_ms), ("jitter_ms", jitter_ms)):
            numbers |= {
                f"{name}_median": float(np.median(values)),
                f"{name}_p99": float(np.quantile(values, 0.99)),
                f"{name}_largest": float(values.max()),
            }
        return {key: round(value, 4) for key, value in numbers.items()}
