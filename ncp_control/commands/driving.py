"""Work of `ncp run` and `scripts/run.py`: open the link, run the control loop, and report."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncp_control import files
from ncp_control.command_line import use_threads
from ncp_control.commands.run import RunPolicy
from ncp_control.deploy.backends import make_controller
from ncp_control.deploy.links import LinkLost, open_link
from ncp_control.imports import imported_modules
from ncp_control.keyword_options import read_options
from ncp_control.learning.run import Run, policy_name
from ncp_control.loop.clocks import RealClock
from ncp_control.loop.monitor import Monitor
from ncp_control.loop.pilot import make_monitor, needed_contract
from ncp_control.loop.playback import read_recording
from ncp_control.loop.realtime import LoopRecord, drive
from ncp_control.loop.recording import DriveRecorder, import_mcap
from ncp_control.markdown import markdown_table
from ncp_control.policy import load, policy_folder
from ncp_control.policy.folder import MONITOR_FILE

SHOWN_EVENTS = 20
RECORDING = "recording.mcap"
"""Name of the recording in a run folder."""


def run_policy(settings: RunPolicy, modules: Sequence[str] = ()) -> None:
    """Run a policy in real time, print a summary, and write a report to the run folder.

    Args:
        settings: Settings of the run.
        modules: Modules that the link's process imports first, in addition to those of `--import`.

    Raises:
        ValueError: If the policy does not fit the link; nothing has moved then.
        KeyboardInterrupt: If the user stopped it, after the safe stop and the report.
        SystemExit: With status 1 if the link or the controller was lost, after the safe stop and
            the report, or if the recording ended early.
    """
    use_threads(1)
    policy, folder = load(settings.policy), policy_folder(settings.policy)
    contract = needed_contract(policy)
    controller = make_controller(policy, settings.backend)
    head_weights = getattr(controller, "head_weights", None)  # None unless it is C
    if head_weights == "int8":
        print("note: the weights of the conv head are rounded to int8, so actions differ a little")
    monitor = None
    if settings.monitored:
        monitor = make_monitor(policy, folder, settings.monitor)
        for sentence in monitor.blind_spots:
            print(f"warning: {sentence}")
    else:
        print("warning: without the monitor, inputs are not checked and no fault stops the robot")
    watched = describe_monitor(monitor, folder)  # now: monitor.json may change during the drive
    period_s = settings.loop.period_s(contract.frame_s)
    other_rate = contract.other_rate(period_s)
    if other_rate is not None:
        print(f"warning: the loop has a tick {other_rate}")
    name = policy_name(folder)
    if settings.record is not None:  # checked before anything moves
        import_mcap()
        for path in settings.record:
            if path.exists():
                raise ValueError(f"`record` must name a new file, got '{path}'. Choose another.")
    link_options = read_options(settings.link_options, "link_options")
    print(contract.describe())
    run = Run.create("run", name, settings, root=settings.runs, tested={name: policy})
    try:
        link = open_link(
            settings.link,
            contract,
            link_options,
            modules=[*modules, *imported_modules()],
            log=run.folder / "link.jsonl",
            period_s=period_s,
        )
    except LinkLost as error:
        raise ValueError(f"`link` {settings.link!r} did not open: {error}.") from error
    print(f"run folder: {run.folder}")
    recorder = None
    try:
        with contextlib.ExitStack() as open_files:
            if settings.record is not None:
                path = settings.record[0] if settings.record else run.folder / RECORDING
                recorder = DriveRecorder(path, policy, contract, name=name)
                open_files.enter_context(recorder)
            record = drive(
                controller,
                contract,
                link,
                clock=RealClock(),
                monitor=monitor,
                settings=settings.loop,
                recorder=recorder,
                name=name,
            )
        about = {
            "backend": settings.backend,
            "head_weights": head_weights,
            **record.to_json(),
            "monitor": watched,
        }
        # Before the link is closed, which takes seconds, in which people press Ctrl-C again.
        is_reported = _report(run, record, about)
        if recorder is not None:
            _tell_recording(recorder)
    finally:
        link.close()
    if record.interrupt is not None:
        raise record.interrupt
    is_recorded = recorder is None or not recorder.fault
    if record.is_safe_stop or not (is_recorded and is_reported):
        raise SystemExit(1)


def _report(run: Run, record: LoopRecord, about: dict[str, Any]) -> bool:
    """Print the summary of a drive and write its report; return whether it could be written."""
    print_drive(record)
    path = run.report / "loop.json"
    try:
        run.report.mkdir(exist_ok=True)
        files.write_file(path, json.dumps(about, indent=1) + "\n")
    except OSError as error:
        print(f"warning: the report could not be written: {error}", file=sys.stderr)
        return False
    print(f"report: {path}")
    return True


def _tell_recording(recorder: DriveRecorder) -> None:
    """Print where the recording is, and how much of it can be read if it ended early."""
    path, num_ticks = recorder.path, recorder.num_ticks
    if recorder.fault:
        num_ticks = len(read_recording(path).ticks)
        readable = f"{num_ticks} of {recorder.num_given} ticks can be read"
        print(f"warning: {recorder.fault}; {readable}", file=sys.stderr)
    print(f"recording: {path}, {num_ticks} ticks, {path.stat().st_size:,} bytes")


def describe_monitor(monitor: Monitor | None, folder: Path) -> dict[str, Any] | None:
    """Return what is known of a monitor as JSON values; None if there is none.

    Args:
        monitor: The monitor.
        folder: Folder of its policy. The SHA-256 sum of the file in it is None if there is none, so
            that the monitor is not calibrated.
    """
    if monitor is None:
        return None
    path = folder / MONITOR_FILE
    digest = files.sha256_of(path) if path.is_file() else None
    return {"file_sha256": digest, "blind_spots": monitor.blind_spots}


def print_drive(record: LoopRecord) -> None:
    """Print the summary of a drive: its end, events and timing."""
    t = record.timing
    print(f"ended: {record.ended}")
    for event in record.events[:SHOWN_EVENTS]:
        print(event)
    if len(record.events) > SHOWN_EVENTS:
        print(f"and {len(record.events) - SHOWN_EVENTS} more events")
    if record.manual_ticks:
        print(f"a person drove in {record.manual_ticks} more ticks")
    if not t["ticks"]:
        return
    rows = [
        [name, *(f"{t[f'{key}_{what}']:.2f}" for what in ("median", "p99", "largest"))]
        for name, key in (("model time [ms]", "model_ms"), ("jitter [ms]", "jitter_ms"))
    ]
    print(markdown_table(["", "median", "p99", "largest"], rows))
    levels = record.to_json()["ticks_at_level"]
    missed = f"{t['deadlines_missed']:.0f} deadline{'s' * (t['deadlines_missed'] != 1)} missed"
    print(
        f"{t['ticks']:.0f} ticks, {missed} ({t['share_missed']:.2%}); "
        + ", ".join(f"{number} {level}" for level, number in levels.items() if number)
    )
