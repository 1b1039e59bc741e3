"""The job `monitor.py faults`: drives with faults, with and without the monitor, and counts."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from tqdm import tqdm

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control import files
from ncp_control.command_line import use_threads
from ncp_control.contract import Contract
from ncp_control.deploy.backends import make_controller
from ncp_control.deploy.links.world import WorldLink
from ncp_control.keyword_options import read_options
from ncp_control.learning.results import ResultsFile
from ncp_control.learning.run import Run, policy_name, typed_command
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.loop.faults import FAULTS, FaultyLink, faults_for
from ncp_control.loop.levels import Event, Level
from ncp_control.loop.monitor import Monitor, certified_state
from ncp_control.loop.pilot import Controller, needed_contract
from ncp_control.loop.profile import InputProfile
from ncp_control.loop.realtime import LoopRecord, drive
from ncp_control.loop.settings import LoopSettings
from ncp_control.markdown import markdown_table
from ncp_control.policy import Policy, load, policy_folder
from ncp_control.policy.folder import MONITOR_FILE
from ncp_control.ranges import changed_settings
from ncp_control.records import frames_part
from ncp_control.worlds import World, find_world
from scripts.evaluation.places import CAR_WORLDS, DRIVING_WORLD, ROAD_WORLD, world_text
from scripts.palette import BLUE, VERMILION
from scripts.pictures import write_picture
from scripts.running.settings import Faults

BEGIN_S, LASTS_S, DRIVE_S = (3.0, 8.0), 4.0, 18.0
"""Range of the time at which a fault begins, duration of a fault, and duration of a drive [s]."""
LEAST_M = 50.0
"""Drives without a fault stop early if the car covers less than this distance on average [m]."""
CLEAN_S = 50.0
"""Length of a drive without a fault [s]: 400 m."""
MOVING_MPS = {DRIVING_WORLD: 6.0, ROAD_WORLD: 1.0}
"""A car whose final speed is above this has recovered [m/s]; on the road it may have to be slow."""
COLUMNS = (
    "fault", "drives", "crashes_without", "crashes_with", "noticed", "stopped",
    "seconds_to_stop", "slowest_to_stop", "recovered",
)  # fmt: skip
"""Columns of the table of faults."""
CLEAN_COLUMNS = ("driven_km", "false_alarms", "false_holds")
"""Further columns of the results file, for the drives without a fault: distance, alarms, and those
that held or stopped the car."""


@dataclass(frozen=True, kw_only=True)
class FaultTrial:
    """Outcome of one drive with a fault."""

    is_crash: bool
    """Whether the car left its lane or hit something."""
    noticed_s: float | None
    """Time from the beginning of the fault to the monitor's first event [s]; None if none came."""
    stop_s: float | None
    """Time from the beginning of the fault to the safe stop [s]; None if there was no stop."""
    is_driving: bool
    """Whether the car is driving at the end."""


class SimulatedDriver:
    """Drives a policy in its driving environment, in simulated time.

    Args:
        policy: The policy.
        folder: Folder of the policy, with its monitor.json.
        settings: Settings of the campaign.
    """

    def __init__(self, policy: Policy, folder: Path, settings: Faults) -> None:
        self.settings, self._policy = settings, policy
        self.contract: Contract = needed_contract(policy)
        self.profile = InputProfile.load(folder)
        self._bounds = certified_state(policy)

    @cached_property
    def controller(self) -> Controller:
        """The policy on the backend that the settings name."""
        return make_controller(self._policy, self.settings.backend)

    @cached_property
    def world(self) -> World:
        """The car environment of the policy, or else `DRIVING_WORLD`; crashes terminate a drive."""
        name, options = DRIVING_WORLD, {}
        if self.contract.world in CAR_WORLDS:
            name, options = self.contract.world, {**self.contract.world_options}
        asked = read_options(self.settings.world_options)
        if asked.get("on_crash", "terminate") != "terminate":
            raise ValueError(
                f"`world_options` must let a crash end a drive, got on_crash={asked['on_crash']}."
                " Leave it out: crashes are counted by the drives that they end."
            )
        options |= {"tracks": "held_out", "episode_s": 2.0 * CLEAN_S, "on_crash": "terminate"}
        return find_world(name, **{**options, **asked})

    @property
    def described(self) -> str:
        """World, back end, and all settings of loop and monitor that are not the default ones."""
        asked = read_options(self.settings.world_options)
        changed = [
            f"{part}.{name}={value}"
            for part, own in (("loop", self.settings.loop), ("monitor", self.settings.monitor))
            for name, value in changed_settings(own).items()
        ]
        backend = f"backend={self.settings.backend}"
        return " ".join([world_text(self.world, asked), backend, *changed])

    def run(
        self, track: int, fault: str, begin_s: float, seconds: float, *, is_monitored: bool
    ) -> tuple[LoopRecord, bool]:
        """Drive one track and return the record of the loop, and whether the car crashed.

        Args:
            track: Number of the track.
            fault: Name of the fault; "" for none.
            begin_s: Time at which the fault begins [s].
            seconds: Duration of the drive [s].
            is_monitored: Whether the monitor is used.

        Raises:
            KeyboardInterrupt: If the drive was stopped by Ctrl-C or a signal.
        """
        clock, seed = SimulatedClock(), self.settings.seed * 100_000 + track
        begun = {"track": track, "start_m": 0.0}
        body = WorldLink(self.world, clock, seed=seed, reset_options=begun)
        end_s = begin_s + LASTS_S
        link = FaultyLink(body, fault, begin_s=begin_s, end_s=end_s, clock=clock,
                          controller=self.controller, seed=seed)  # fmt: skip
        monitor = None
        if is_monitored:
            monitor = Monitor(
                self.contract, self.settings.monitor, profile=self.profile, bounds=self._bounds
            )
        loop = LoopSettings(**{**vars(self.settings.loop), "seconds": seconds})
        try:
            record = drive(
                self.controller, self.contract, link, clock=clock, monitor=monitor, settings=loop
            )
        finally:
            link.close()
        if record.interrupt is not None:  # an incomplete drive says nothing about the fault
            raise record.interrupt
        return record, body.has_failed

    def trial(self, fault: str, number: int, *, is_monitored: bool) -> FaultTrial:
        """Drive the held-out track `number` with a fault that begins at a random time."""
        rng = np.random.default_rng([self.settings.seed, number])
        begin_s = float(rng.uniform(*BEGIN_S))
        track = HELD_OUT_TRACKS[number]
        record, is_crash = self.run(track, fault, begin_s, DRIVE_S, is_monitored=is_monitored)
        after = [event for event in record.events if event.time_s >= begin_s - 1e-9]
        stops = [event.time_s for event in after if event.level == Level.STOP]
        moving_mps = MOVING_MPS[self.world.name]
        return FaultTrial(
            is_crash=is_crash,
            noticed_s=after[0].time_s - begin_s if after else None,
            stop_s=stops[0] - begin_s if stops else None,
            is_driving=not is_crash and float(record.episode.infos["speed_mps"][-1]) > moving_mps,
        )

    def clean(self, distance_km: float) -> tuple[float, int, int, int]:
        """Drive without faults.

        The tracks follow those of the trials. Driving ends early if the car hardly moves, see
        `LEAST_M`, or after the last held-out track.

        Returns:
            Distance driven [km], number of false alarms, number of those that held or stopped the
            car, and number of crashes.
        """
        driven_m, alarms, held, crashes, number = 0.0, 0, 0, 0, self.settings.drives
        most = number + math.ceil(1000.0 * distance_km / LEAST_M)
        end = min(most, len(HELD_OUT_TRACKS))
        with tqdm(desc="without a fault", unit="track", leave=False) as bar:
            while driven_m < 1000.0 * distance_km and number < end:
                track = HELD_OUT_TRACKS[number]
                record, is_crash = self.run(track, "", 0.0, CLEAN_S, is_monitored=True)
                distance_m = float(record.episode.infos["distance_m"][-1])
                driven_m, number = driven_m + distance_m, number + 1
                found = count_alarms(record.events)
                alarms, held = alarms + found[0], held + found[1]
                crashes += is_crash
                for event in record.events:
                    tqdm.write(f"track {track}: {event}")
                bar.update()
        return driven_m / 1000.0, alarms, held, crashes


def count_alarms(events: Sequence[Event]) -> tuple[int, int]:
    """Return the number of alarms, and of those that held or stopped the robot.

    An alarm lasts from the first event until the robot drives again.
    """
    alarms, held, level = 0, 0, Level.DRIVE
    for event in events:
        alarms += level == Level.DRIVE != event.level
        held += level < Level.HOLD <= event.level
        level = event.level
    return alarms, held


def campaign(settings: Faults) -> None:
    """Run all drives, print a table, and write the results, row by row, and a figure.

    Raises:
        ValueError: If the policy does not fit the environment or has no calibrated monitor.
    """
    use_threads(1)
    policy, folder = load(settings.policy), policy_folder(settings.policy)
    driver = SimulatedDriver(policy, folder, settings)
    world, sensed = driver.contract.world, driver.contract.observation
    if world not in CAR_WORLDS and frames_part(sensed) is None:
        judged = " evaluate.py and audit.py judge it with --log runs/RUN/demonstrations/test."
        raise ValueError(
            f"`policy` must drive a car, got {str(folder)!r}, which senses no frames. Faults are"
            f" injected in {' and '.join(CAR_WORLDS)} only.{'' if world else judged}"
        )
    driver.world.check_policy(driver.contract)
    if driver.profile is None:
        raise ValueError(
            f"`policy` must have a calibrated monitor, got {str(folder)!r} without monitor.json."
            f" Run python scripts/monitor.py calibrate {folder}"
        )
    monitor_sha256 = files.sha256_of(folder / MONITOR_FILE)
    faults, name = faults_for(driver.controller), policy_name(folder)
    if faults != FAULTS:
        print(
            "note: the fault 'state' is left out: the state of the back end"
            f" {settings.backend!r} cannot be set"
        )
    results = ResultsFile(settings.results, (*COLUMNS, *CLEAN_COLUMNS))
    run = Run.create("faults", name, settings, root=settings.runs)
    results.place(run.results)
    print(f"run folder: {run.folder}")

    def keep(row: dict[str, Any]) -> None:
        described = f"{row['fault']} {driver.described} monitor.file_sha256={monitor_sha256}"
        results.append(name, settings.seed, described, row, typed_command())

    begun_s = time.monotonic()
    rows, delays = [], {}
    for fault in tqdm(faults, "faults", leave=False):
        row, delays[fault] = _row(driver, fault, settings.drives)
        rows.append(row)
        keep(row)
        run.log(len(rows), **{k: v for k, v in row.items() if not isinstance(v, str)})
    trials_s = time.monotonic() - begun_s
    km, alarms, held, crashes = driver.clean(settings.clean_km)
    keep({"fault": "none", "crashes_with": crashes, "driven_km": km, "false_alarms": alarms,
          "false_holds": held})  # fmt: skip
    picture = run.report / "faults.png"
    run.report.mkdir(exist_ok=True)
    write_picture(picture, draw(rows, delays))
    print(markdown_table(COLUMNS, [[_cell(row[name]) for name in COLUMNS] for row in rows]))
    print(f"{km:.1f} km without a fault: {alarms} false alarms, {held} of which held or stopped the"
          f" car, and {crashes} crashes")  # fmt: skip
    per_drive_s = trials_s / (2 * len(faults) * settings.drives)
    print(f"{per_drive_s:.2f} s a drive of {DRIVE_S:g} s; 100 drives of each kind would take"
          f" {200 * len(faults) * per_drive_s / 60:.0f} minutes")  # fmt: skip
    print(f"results: {results.path}\npicture: {picture}")


def _row(
    driver: SimulatedDriver, fault: str, drives: int
) -> tuple[dict[str, float | str], list[float]]:
    """Return a row of the table, and the time to each safe stop [s]."""
    without = [driver.trial(fault, i, is_monitored=False) for i in range(drives)]
    watched = [driver.trial(fault, i, is_monitored=True) for i in range(drives)]
    stops = [trial.stop_s for trial in watched if trial.stop_s is not None]
    row = {
        "fault": fault,
        "drives": drives,
        "crashes_without": sum(trial.is_crash for trial in without),
        "crashes_with": sum(trial.is_crash for trial in watched),
        "noticed": sum(trial.noticed_s is not None for trial in watched),
        "stopped": len(stops),
        "seconds_to_stop": round(float(np.median(stops)), 3) if stops else float("nan"),
        "slowest_to_stop": round(max(stops), 3) if stops else float("nan"),
        "recovered": sum(trial.is_driving for trial in watched),
    }
    return row, stops


def draw(rows: Sequence[dict], delays: dict[str, list[float]]) -> Figure:
    """Plot the crashes of each fault without and with the monitor, and the times to a stop."""
    layout = ConstrainedLayoutEngine(wspace=0.06)  # otherwise the labels of the axes touch
    figure = Figure(figsize=(9.0, 4.6), layout=layout)
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(rows))
    for offset, key, label, colour in (
        (-0.2, "crashes_without", "without the monitor", VERMILION),
        (0.2, "crashes_with", "with it", BLUE),
    ):
        shares = [100.0 * row[key] / row["drives"] for row in rows]
        left.barh(place + offset, shares, 0.38, color=colour, label=label)
    left.set_yticks(place, [row["fault"] for row in rows])
    left.set_xlabel("drives that leave the lane or hit something [%]")
    left.set_xlim(0.0, 100.0)
    left.invert_yaxis()
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    for i, row in enumerate(rows):
        right.plot(delays[row["fault"]], np.full(len(delays[row["fault"]]), i), "o",
                   color=BLUE, alpha=0.4, markersize=4)  # fmt: skip
    right.set_xlabel("from the fault to the safe stop [s]")
    right.set_xlim(left=0.0)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    return figure


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
