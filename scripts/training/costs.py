"""Estimate of time and disk space of `train.py drive`, printed before it starts."""

from math import prod

from envs.driving import CameraGeometry, LaneKeepingConfig
from scripts.evaluation.driving import DriveSettings, drive_km
from scripts.training.imitation_settings import Drive
from scripts.training.kept_frames import SHARE_OF_RAW

RECORD_MS, LEARN_MS, ACT_MS, REPORT_S = 0.6, 0.4, 0.7, 16.0
"""Processor time of one thread of an AMD EPYC: per frame that the expert demonstrates, per frame
and epoch of training, per frame that a policy drives [ms]; and for film and figures [s].

Measured for a new NCP with the light head. The first is in `results/benchmark/demonstrations.md`,
the others were measured interleaved with it. With two free cores, training takes about half the
time."""


def foretell(settings: Drive, validation: DriveSettings, *, is_recorded: bool) -> str:
    """Return a sentence with the estimated time of training, and the disk space of its frames.

    Args:
        settings: Settings of the job.
        validation: Drives after each epoch.
        is_recorded: Whether the demonstrations of the expert exist already.
    """
    demonstrated, asked, learned = frame_counts(settings)
    epochs = settings.imitation.epochs
    driven = asked + epochs * _driven(validation) + _driven(drive_km(settings.evaluation_km))
    recorded = 0 if is_recorded else demonstrated
    spent_ms = RECORD_MS * recorded + LEARN_MS * learned + ACT_MS * driven
    minutes = max(round((spent_ms / 1000.0 + REPORT_S) / 60.0), 1)
    geometry = CameraGeometry()
    bytes_each = prod((geometry.height_px, geometry.width_px, 3))
    gigabytes = (recorded + asked) * bytes_each * SHARE_OF_RAW[settings.frames_as] / 1e9
    also = "" if settings.head == "light" else f" with the light head, more with {settings.head}"
    return (
        f"this takes about {minutes} min on two cores{also}, and {gigabytes:.1f} GB of disk for"
        " demonstrations"
    )


def frame_counts(settings: Drive) -> tuple[int, int, int]:
    """Return the number of demonstrated frames, of DAgger frames, and of frames trained on.

    A frame is counted in the last number once for each epoch that uses it.
    """
    rate_hz = LaneKeepingConfig().control_rate_hz
    per_track = round(settings.seconds_per_track * rate_hz)
    demonstrated, added = settings.tracks * per_track, settings.dagger_tracks * per_track
    epochs, asked = settings.imitation.epochs, settings.imitation.asked_epochs
    learned = epochs * demonstrated + sum(epochs - epoch for epoch in asked) * added
    return demonstrated, len(asked) * added, learned


def _driven(where: DriveSettings) -> int:
    """Return the number of frames of drives."""
    rate_hz = LaneKeepingConfig().control_rate_hz
    return where.num_tracks * round(where.seconds_per_track * rate_hz)
