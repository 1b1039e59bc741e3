"""The page about recordings: one HTML file with tables, pictures and curves.

The page needs no server and no network: styles and pictures are embedded.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from envs.recorded import Recording
from envs.recorded.images import read_image
from envs.recorded.overview import LAST_SHARE, Numbers, Overview, sampled_frames
from envs.recorded.stretches import CENTER
from ncp_control import files
from scripts.curating.tables import NUMBERS, cells_of, damage_rows, facts, numbers_row
from scripts.palette import BLUE, GREY, VERMILION

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 1.5em auto;
       padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.25em; border-top: 1px solid #ccc; padding-top: 1em; }
h3 { font-size: 1.05em; margin: 1.4em 0 .4em; }
table { border-collapse: collapse; } td, th { padding: .2em .8em .2em 0; text-align: left;
       vertical-align: middle; border-bottom: 1px solid #eee; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { text-align: right; } .wide { overflow-x: auto; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 10px; }
figure { margin: 0; } figcaption { font-size: .82em; color: #555; }
.seen { position: relative; line-height: 0; } .seen img { width: 100%; }
.cut { position: absolute; left: 0; right: 0; background: rgba(255, 255, 255, .55); }
.note { background: #fff4e0; border-left: 4px solid #d55e00; padding: .5em .8em; margin: .6em 0; }
.about { color: #555; } img.plot { max-width: 100%; }
"""
_NUM_CENTER, _NUM_SIDE = 12, 6
_WIDTH_PIXELS = 320
_MOST_CURVES = 8
_MOST_POINTS = 4000


def write_page(path: Path, looked: Sequence[tuple[Overview, Sequence[str]]]) -> None:
    """Write the page about recordings.

    Args:
        path: The HTML file.
        looked: Overview of each recording, and the notes from reading it.
    """
    names = [overview.recording.folder.resolve().name for overview, _ in looked]
    title = escape(names[0] if len(names) == 1 else f"{len(names)} recordings")
    sections = "\n".join(_section(*one, alone=len(names) == 1) for one in looked)
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n{sections}\n</body></html>\n"
    )
    files.write_file(path, text)


def _section(overview: Overview, notes: Sequence[str], *, alone: bool) -> str:
    recording = overview.recording
    parts = [] if alone else [f"<h2>{escape(recording.folder.resolve().name)}</h2>"]
    parts += [f'<p class="note">{escape(one)}</p>' for one in (*notes, *overview.doubts)]
    parts.append(_table((), facts(overview)))
    if recording.framing is not None:
        parts += [
            "<h3>Frames</h3>",
            '<p class="about">Evenly from the first to the last, with the time since the first'
            " frame (pauses left out). What is pale is cut off before a policy sees it.</p>",
            *(_pictures(overview, camera) for camera in overview.cameras),
        ]
    if overview.numbers:
        parts += ["<h3>Numbers</h3>", _numbers_table(overview.numbers)]
    if recording.actions:
        parts += ["<h3>Actions over time</h3>", _picture_of(draw_actions(overview), "actions")]
    parts += ["<h3>Time steps</h3>", _picture_of(draw_steps(overview), "time steps")]
    if damage := damage_rows(overview):
        parts += ["<h3>Not as it should be</h3>", _table(("", "frames"), damage)]
    return "\n".join(parts)


def draw_actions(overview: Overview) -> Figure:
    """Draw each action over time, one line per episode; the last fifth has a grey background."""
    recording = overview.recording
    episodes = recording.center_only().episodes
    times_s = [
        np.array([overview.time_s_of_row[row] for row in episode.rows.tolist()])
        for episode in episodes
    ]
    all_s = np.concatenate(times_s)
    named = {one.name: one for one in recording.quantities}
    names = recording.actions[:_MOST_CURVES]
    figure = Figure(figsize=(11.5, 0.5 + 1.6 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    stride = -(-len(all_s) // _MOST_POINTS)
    begin = min(round((1.0 - LAST_SHARE) * len(all_s)), len(all_s) - 1)
    for axes, name in zip(panels, names, strict=True):
        axes.axvspan(all_s[begin], all_s[-1], color="#eeeeee")
        for time_s, episode in zip(times_s, episodes, strict=True):
            style = "-" if len(time_s) > stride else "."
            values = episode.numbers[name][::stride]
            axes.plot(time_s[::stride], values, style, color=BLUE, linewidth=0.8, markersize=2)
        unit = named[name].unit
        axes.set_title(f"{name} [{unit}]" if unit else name, loc="left", fontsize=9)
        axes.margins(x=0.0)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("time without pauses [s]; grey: the last fifth")
    return figure


def draw_steps(overview: Overview) -> Figure:
    """Draw a histogram of the time between two frames, on logarithmic axes."""
    steps = overview.steps
    steps_ms = 1000.0 * steps.steps_s
    figure = Figure(figsize=(11.5, 2.2), layout="constrained")
    axes = figure.subplots()
    low, high = steps_ms.min() / 1.3, steps_ms.max() * 1.3
    axes.hist(steps_ms, bins=np.geomspace(low, high, 80).tolist(), color=BLUE)
    axes.set(xscale="log", yscale="log", xlabel="time between two frames [ms]", ylabel="frames")
    for value_s, text, y in ((steps.median_s, "median", 0.88), (steps.p99_s, "99 %", 0.74)):
        axes.axvline(1000.0 * value_s, color=VERMILION, linewidth=1.0)
        place = (1000.0 * value_s, y)
        axes.annotate(f" {text}", place, xycoords=("data", "axes fraction"), color=VERMILION)
    ticks = [one for one in _round_numbers() if low <= one <= high]
    if len(ticks) > 1:
        axes.set_xticks(ticks, [f"{one:g}" for one in ticks])
        axes.minorticks_off()
    axes.grid(alpha=0.3)
    return figure


def _round_numbers() -> list[float]:
    return [digit * 10.0**power for power in range(-3, 8) for digit in (1, 2, 5)]


def _pictures(overview: Overview, camera: str) -> str:
    """Return the HTML of some frames of a camera with their times and actions."""
    recording = overview.recording
    frames = []
    for number, i in sampled_frames(
        recording, camera, _NUM_CENTER if camera == CENTER else _NUM_SIDE
    ):
        episode = recording.episodes[number]
        image = read_image(episode.image_paths[i])
        if image is None:
            continue
        labels = [f"{name} {episode.numbers[name][i]:+.2f}" for name in recording.actions[:2]]
        time_s = overview.time_s_of_row.get(int(episode.rows[i]))
        labels = [*([] if time_s is None else [f"{time_s:,.1f} s"]), *labels]
        frames.append(_frame(recording, image, f"{camera}, {', '.join(labels)}"))
    return f'<div class="frames">{"".join(frames)}</div><br>'


def _frame(recording: Recording, image: np.ndarray, caption: str) -> str:
    assert recording.framing is not None
    height, width = image.shape[:2]
    size = (min(width, _WIDTH_PIXELS), max(round(height * min(1.0, _WIDTH_PIXELS / width)), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    cut_off = recording.framing.cut
    edges = (("top", cut_off.crop_top), ("bottom", cut_off.crop_bottom))
    cut = "".join(
        f'<div class="cut" style="{edge}: 0; height: {100 * share:.2f}%"></div>'
        for edge, share in edges
        if share
    )
    source = base64.b64encode(jpeg).decode()
    return (
        f'<figure><div class="seen"><img alt="" src="data:image/jpeg;base64,{source}">{cut}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _numbers_table(numbers: Sequence[Numbers]) -> str:
    heads = "".join(f'<th{"" if i < 3 else " class=n"}>{name}</th>' for i, name in
                    enumerate(NUMBERS))  # fmt: skip
    rows = []
    for one in numbers:
        texts = cells_of(numbers_row(one))
        cells = "".join(f"<td{'' if i < 3 else ' class=n'}>{escape(text)}</td>" for i, text in
                        enumerate(texts))  # fmt: skip
        rows.append(f"<tr>{cells}<td>{_histogram(one)}</td></tr>")
    return (
        f'<div class="wide"><table><tr>{heads}<th>lowest to highest</th></tr>'
        f"{''.join(rows)}</table></div>"
    )


def _histogram(one: Numbers) -> str:
    """Return the histogram of a number as SVG, with a line at zero if the range contains zero."""
    counts = one.histogram()
    if not counts.any():
        return ""
    width, height = 8, 44
    heights = np.maximum(height * counts / counts.max(), 1.0 * (counts > 0))
    bars = "".join(
        f'<rect x="{width * i}" y="{height - tall:.1f}" width="{width - 1}" height="{tall:.1f}"/>'
        for i, tall in enumerate(heights)
        if tall
    )
    whole = width * len(counts)
    low, high = one.values.min(), one.values.max()
    zero = ""
    if low < 0.0 < high:
        x = whole * -low / (high - low)
        zero = f'<path d="M{x:.1f} 0V{height}" stroke="{VERMILION}" stroke-dasharray="2 2"/>'
    return (
        f'<svg width="{whole}" height="{height + 1}" fill="{BLUE}">{bars}'
        f'<path d="M0 {height + 0.5}H{whole}" stroke="{GREY}"/>{zero}</svg>'
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in header)
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return f"<table>{f'<tr>{heads}</tr>' if header else ''}{lines}</table>"


def _picture_of(figure: Figure, what: str) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    source = base64.b64encode(picture.getvalue()).decode()
    return f'<img class="plot" alt="{what}" src="data:image/png;base64,{source}">'
