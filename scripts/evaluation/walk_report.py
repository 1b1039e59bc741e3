"""The report of a policy that walks.

report/
    report.md        the page: table, figure, film, settings and versions
    returns.csv      every episode's return
    robustness.png   return against each disturbance, where several were asked for
    walk.mp4         the film, where OpenGL can render without a display
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ncp_control import files
from ncp_control.learning.closed_loop import PolicyPilot, closed_loop, elapsed_of
from ncp_control.learning.run import Run
from ncp_control.policy import Policy
from scripts.evaluation.locomotion import (
    Row,
    WalkSettings,
    half_width,
    returns_table,
    write_returns,
)
from scripts.evaluation.opengl import headless_opengl
from scripts.markdown import json_block, plain
from scripts.pictures import FilmFile, write_picture

WIDTH_PX, HEIGHT_PX = 768, 432
_FILM_S = 8.0
_LOWEST_RATE_HZ = 20.0
_BLUE = "#0072B2"
_FONT = Path("fonts") / "ttf" / "DejaVuSans.ttf"


def write_walk_report(run: Run, policy: Policy, rows: Sequence[Row]) -> None:
    """Write the report; an older one is replaced as a whole.

    Args:
        run: Whose report it is.
        policy: The policy; it walks once more, on film, in the first of the settings.
        rows: What it reached where.
    """
    with files.new_folder(run.report) as folder:
        write_returns(folder / "returns.csv", rows)
        text = [
            f"# {plain(run.folder.name)}",
            returns_table(rows),
            "± is the 95 % t interval of the mean return over episodes.",
        ]
        if len(rows) > 1:
            write_picture(folder / "robustness.png", robustness(rows))
            text.append("![Return against what disturbs it](robustness.png)")
        skipped = film(folder / "walk.mp4", policy, rows[0][1])
        text.append(plain(skipped) if skipped else f"[Film of {_FILM_S:g} s](walk.mp4)")
        config = json.loads((run.folder / "config.json").read_text())
        text.append(f"## Settings and versions\n\n{json_block(config)}")
        files.write_file(folder / "report.md", "\n\n".join(text) + "\n")
    if skipped:
        print(skipped)


def robustness(rows: Sequence[Row]) -> Figure:
    """Draw mean return and its interval against each disturbance that was varied."""
    quantities = [
        ("sensor_noise_std", "sensor noise, standard deviation [m, rad, m/s, rad/s]"),
        ("drop_probability", "share of dropped frames"),
        ("overwrite_probability", "share of random actions"),
        ("delay_steps", "frames until an action takes effect"),
    ]
    varied = [q for q in quantities if len({getattr(where, q[0]) for _, where, _ in rows}) > 1]
    figure = Figure(figsize=(4.6 * len(varied), 3.4), layout="constrained")
    panels = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    for axes, (name, label) in zip(panels, varied, strict=True):
        others = [other for other, _ in quantities if other != name]
        base = [getattr(rows[0][1], other) for other in others]
        shown = [r for r in rows if [getattr(r[1], other) for other in others] == base]
        disturbed = [getattr(where, name) for _, where, _ in shown]
        axes.errorbar(
            disturbed,
            [returns.mean() for _, _, returns in shown],
            [np.nan_to_num(half_width(returns)) for _, _, returns in shown],
            fmt="o-",
            color=_BLUE,
            capsize=3,
        )
        axes.set_xlabel(label)
        axes.set_xticks(disturbed)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("return of an episode")
    # Once all is drawn: the panels share their axis, which takes no wider range after that.
    panels[0].set_ylim(bottom=min(0.0, *(returns.mean() for _, _, returns in rows)))
    return figure


def film(path: Path, policy: Policy, where: WalkSettings) -> str | None:
    """Film the policy walking; return a sentence if nothing can be rendered."""
    with headless_opengl() as binding:
        if binding is None:
            return (
                "No film: there is no OpenGL to render with. On Debian, install libegl1"
                " libegl-mesa0 libgl1-mesa-dri, or libosmesa6."
            )
        try:
            world = _rendered_world(where)
        except Exception as error:  # every OpenGL binding has exceptions of its own
            return f"No film: rendering failed ({error})."
        frame_s = where.world.frame_s
        every = max(round(1.0 / (_LOWEST_RATE_HZ * 1.5 * frame_s)), 1)
        num_pictures = round(_FILM_S / (frame_s * every))
        steps = closed_loop(
            [cast(Any, world)],
            PolicyPilot(policy),
            num_steps=round(_FILM_S / frame_s),
            frame_s=frame_s,
            seeds=[where.seed],
        )
        total, elapsed_s, written = 0.0, 0.0, 0
        with FilmFile(path, WIDTH_PX, HEIGHT_PX, 1.0 / (frame_s * every)) as film_file:
            for step in steps:
                info = step.outcomes[0]
                total = (0.0 if step.reset[0] else total) + float(step.rewards[0])
                elapsed_s += elapsed_of(info)  # several frames, if some were dropped
                due = min(round(elapsed_s / (frame_s * every)), num_pictures) - written
                if due > 0:
                    picture = _label(world.render(), info, total)
                    for _ in range(due):
                        film_file.add(picture)
                    written += due
                if written == num_pictures:
                    break
        world.close()
    return None


def _rendered_world(where: WalkSettings) -> Any:
    """Build a world that can be filmed, and see whether it can."""
    size = {"width": WIDTH_PX, "height": HEIGHT_PX}
    world: Any = where.make_world("rgb_array", camera_name="track", **size)
    if hasattr(world.unwrapped, "model"):
        quality = world.unwrapped.model.vis.quality
        quality.offsamples, quality.shadowsize = 0, 1024  # ten times as fast without a GPU
    world.reset(seed=where.seed)
    if world.render_mode is None or world.render() is None:
        world.close()
        raise RuntimeError("the world draws no pictures")
    return world


def _label(picture: np.ndarray, info: dict[str, Any], total: float) -> np.ndarray:
    """Write time, speed and return so far onto a picture."""
    from matplotlib import get_data_path

    image = ImageOps.pad(Image.fromarray(picture), (WIDTH_PX, HEIGHT_PX), color=(0, 0, 0))
    font = ImageFont.truetype(str(Path(get_data_path()) / _FONT), 22)
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((0, HEIGHT_PX - 40, WIDTH_PX, HEIGHT_PX), fill=(0, 0, 0, 170))
    texts = [
        f"{info['time_s']:.1f} s",
        *([f"{info['x_velocity']:.1f} m/s"] if "x_velocity" in info else []),
        f"return {total:.0f}",
    ]
    for i, text in enumerate(texts):
        draw.text((20 + 160 * i, HEIGHT_PX - 20), text, (255, 255, 255), font, anchor="lm")
    return np.ascontiguousarray(image)
