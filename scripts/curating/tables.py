"""Facts about a recording as rows of tables, for the terminal and the page."""

import math

from envs.recorded.overview import Numbers, Overview

BARS = " ▁▂▃▄▅▆▇█"
LARGEST_STRETCH = 1.25
"""Factor of stretching images in one direction from which it is reported."""
NUMBERS = ("number", "unit", "role", "lowest", "median", "highest", "mean", "deviation", "zero",
           "missing")  # fmt: skip
"""Columns of the table of numbers."""


def facts(overview: Overview) -> list[tuple[str, str]]:
    """Return the facts about a recording, other than its numbers, as rows of a table."""
    recording, steps = overview.recording, overview.steps
    cameras = ", ".join(f"{name} {count:,}" for name, count in overview.cameras.items())
    used = f"{len(recording):,} usable of {recording.num_listed:,} listed"
    rows = [
        ("format", f"{recording.format}, driven by {recording.driver}"),
        ("frames", used),
        ("cameras", cameras if recording.framing is not None else "none, numbers alone"),
        ("duration", f"{overview.duration_s:,.1f} s without pauses"),
        ("episodes", f"{overview.num_episodes:,}{_pauses(overview)}"),
        (
            "time steps",
            f"median {_ms(steps.median_s)}, 99 % at most {_ms(steps.p99_s)},"
            f" longest {_ms(steps.longest_s)}",
        ),
    ]
    if recording.framing is not None:
        height, width = recording.framing.image_size
        top, bottom = (f"{100 * share:.0f} %" for share in recording.framing.crop)
        when = " when it was recorded" if recording.framing.is_cropped else ""
        sizes = ", ".join(f"{h} x {w} ({n})" for (h, w), n in overview.sizes.items())
        rows += [
            ("image sizes", f"{sizes} of {sum(overview.sizes.values())} sampled, height x width"),
            (
                "a policy sees",
                f"{height} x {width}, cut off {top} at the top, {bottom} below"
                f"{when}{_stretch(overview)}",
            ),
        ]
    alike = "unlike the rest, see below" if overview.doubts else "like the rest"
    return [*rows, ("last fifth", alike if recording.actions else "not compared: no actions")]


def _stretch(overview: Overview) -> str:
    """Return how much images of the most frequent size are stretched; "" if only a little."""
    framing = overview.recording.framing
    if framing is None or not overview.sizes:
        return ""
    (height, width), *_ = overview.sizes
    kept = len(range(height)[framing.cut.rows(height)])
    factor = (framing.image_size[1] / width) / (framing.image_size[0] / kept)
    if 1.0 / LARGEST_STRETCH < factor < LARGEST_STRETCH:
        return ""
    times, way = (factor, "sideways") if factor > 1.0 else (1.0 / factor, "upwards")
    return f", stretched {times:.1f} times {way}"


def numbers_row(one: Numbers) -> list[object]:
    """Return the row of a number in the table of numbers."""
    shares = (one.zeros, one.num_missing / max(one.num_missing + len(one.values), 1))
    unit = one.quantity.unit + " (assumed)" * one.quantity.has_assumed_unit
    return [one.quantity.name, unit, one.role, *one.summary.values(), *shares]


def cells_of(row: list[object]) -> list[str]:
    """Return a row of numbers as the terminal and the page show it; the last two are shares."""
    *values, zeros, missing = row
    return [*map(_cell, values), _cell(zeros, 100.0, " %"), _cell(missing, 100.0, " %")]


def damage_rows(overview: Overview) -> list[tuple[str, str]]:
    """Return the number of frames left out and of frames changed, by reason."""
    recording = overview.recording
    skipped = [(f"left out: {reason}", f"{n:,}") for reason, n in recording.skipped.items()]
    return skipped + [(f"changed: {reason}", f"{n:,}") for reason, n in recording.changed.items()]


def draw_bars(one: Numbers) -> str:
    """Return the histogram of a number as one line of text; a bin with values is never blank."""
    counts = one.histogram()
    most = max(counts.max(initial=0), 1)
    return "".join(BARS[-(-int(count) * (len(BARS) - 1) // int(most))] for count in counts)


def _pauses(overview: Overview) -> str:
    pauses_s = overview.steps.pauses_s
    if not len(pauses_s):
        return ""
    back = int((pauses_s <= 0.0).sum())
    texts = [f"longest pause {pauses_s.max():,.1f} s"] if back < len(pauses_s) else []
    return f"; {', '.join([*texts, *([f'{back} begin at an earlier time'] if back else [])])}"


def _ms(time_s: float) -> str:
    return f"{1000.0 * time_s:.4g} ms"


def _cell(value: object, factor: float = 1.0, unit: str = "") -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{factor * value + 0.0:.3g}{unit}"
