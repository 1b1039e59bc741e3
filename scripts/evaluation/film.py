"""Films of an episode: the environment, instruments, neurons, and a car's camera image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ncp_control.acting.closed_loop import Step
from ncp_control.episode import Episode
from ncp_control.policy import Policy
from ncp_control.records import frames_in, frames_part, record_frame
from scripts.evaluation.film_neurons import NeuronStrip, watched_states
from scripts.evaluation.opengl import headless_opengl, why_not_drawn
from scripts.evaluation.places import CAR_WORLDS, DRIVING_WORLD, Place
from scripts.pictures import FilmFile

MakeFilm = Callable[[Path], tuple[Episode, str | None]]
"""Function that writes the film to a file. Returns the episode, and the reason if there is no
film."""
WIDTH_PX, HEIGHT_PX = 1280, 720
"""Size of the film of a drive [px]."""
BODY_WIDTH_PX, BODY_HEIGHT_PX = 768, 432
"""Size of any other film [px]."""
_LOWEST_RATE_HZ = 20.0
_FONT = Path("fonts") / "ttf" / "DejaVuSans.ttf"
_STRIP_PX = 56
_MARGIN_PX = 20
_INSET_SCALE = 2
_WHITE, _GREY = (255, 255, 255), (170, 170, 170)
_BLUE, _VERMILION = (86, 180, 233), (213, 94, 0)
_CRASH_NOTE_FRAMES = 30
_GAUGE_CENTRE_PX, _GAUGE_HALF_PX = 980, 150
_NEURONS_WIDTH_PX, _NEURONS_HEIGHTS_PX = 240, (60, 160)


def film(
    path: Path, policy: Policy, place: Place, *, seconds: float, name: str = ""
) -> tuple[Episode, str | None]:
    """Let a policy act in the first episode of a place, and film it with its neurons.

    If the environment cannot be rendered but has a camera, the film shows the camera frames.

    Args:
        path: The MP4 file.
        policy: The policy that acts.
        place: Environment and episodes.
        seconds: Length of the film [s].
        name: Name of the policy, for the episode.

    Returns:
        The episode, and the reason if there is no film.
    """
    frame_s = place.world.frame_s
    every = max(round(1.0 / (_LOWEST_RATE_HZ * 1.5 * frame_s)), 1)
    num_pictures = max(round(seconds / (frame_s * every)), 1)
    with headless_opengl() as binding:
        env, show = _rendered_env(place, binding)
        with (
            place.open(policy, seconds=seconds, name=name, env=env) as (_, steps, recorder),
            watched_states(policy) as states,
        ):
            if isinstance(show, str):
                for step in steps:
                    recorder.add(step)
                    if recorder.is_over:
                        break
                return recorder.episode(), show
            compose, size = _layout(place)
            neurons = _strip(policy)
            total, elapsed_s, written = 0.0, 0.0, 0
            with FilmFile(path, *size, 1.0 / (frame_s * every)) as file:
                for step in steps:
                    recorder.add(step)
                    total = (0.0 if step.reset[0] else total) + float(step.rewards[0])
                    # Longer than a frame, if frames were dropped.
                    elapsed_s += step.outcomes[0].get("dt_s", frame_s)
                    due = min(round(elapsed_s / (frame_s * every)), num_pictures) - written
                    if due > 0:
                        strip = neurons.add(states())
                        picture = compose(show(step), step, recorder.asked, total, strip)
                        for _ in range(due):
                            file.add(picture)
                        written += due
                    if written == num_pictures:
                        break
            return recorder.episode(), None


_Compose = Callable[[Any, Step, np.ndarray | None, float, np.ndarray], np.ndarray]
"""Function of rendered image, step, expert's action, return so far and picture of the neurons.
Returns a film frame."""


def _strip(policy: Policy) -> NeuronStrip:
    """Return the strip of a policy's neurons for a corner of the film."""
    num_neurons = policy.circuit.cell.num_visible
    lowest_px, highest_px = _NEURONS_HEIGHTS_PX
    height_px = min(max(num_neurons * 6, lowest_px), highest_px)
    return NeuronStrip(num_neurons, _NEURONS_WIDTH_PX, height_px)


def _layout(place: Place) -> tuple[_Compose, tuple[int, int]]:
    """Return the function that composes the frames of the film, and their size [px]."""
    if place.world.name not in CAR_WORLDS:
        return _label, (BODY_WIDTH_PX, BODY_HEIGHT_PX)
    layout, in_record = DriveLayout(), record_frame(place.world.contract.observation)
    return lambda *args: layout.compose(_shot(*args, in_record=in_record)), (WIDTH_PX, HEIGHT_PX)


_Show = Callable[[Step], Any]
"""Function that returns an image of the environment for a step."""


def _rendered_env(place: Place, binding: str | None) -> tuple[Any, _Show | str]:
    """Return an environment and the function that renders it.

    If it cannot be rendered, return None and the function that shows its camera frames, or the
    reason why there can be no film.
    """
    size = {"width": BODY_WIDTH_PX, "height": BODY_HEIGHT_PX}
    try:
        env = place.make_rendered(**size)
        if hasattr(env.unwrapped, "mujoco_renderer"):
            if binding is None:
                env.close()
                return None, (
                    "No film: there is no OpenGL to render with. On Debian, install libegl1"
                    " libegl-mesa0 libgl1-mesa-dri, or libosmesa6."
                )
            quality = env.unwrapped.model.vis.quality
            quality.offsamples, quality.shadowsize = 0, 1024  # ten times as fast without a GPU
        if place.world.name != DRIVING_WORLD:  # it can always be rendered, and its reset is slow
            env.reset(seed=place.seeds[0])
            if env.render_mode is None or env.render() is None:
                env.close()
                return None, _camera_of(place) or (
                    "No film: the world draws no pictures. Give its environment the render mode"
                    ' "rgb_array".'
                )
    except Exception as error:
        return None, f"No film: {why_not_drawn(error)}"
    return env, lambda _: env.render()


def _camera_of(place: Place) -> _Show | None:
    """Return a function for the camera frame before a step, RGB; None if there is no camera."""
    observation = place.world.contract.observation
    frames, in_record = frames_part(observation), record_frame(observation)
    if frames is None or frames.dtype != "uint8":
        return None
    channels = frames.shape[2] // frames.view.stack  # of one frame; the newest is last
    if channels not in (1, 3):
        return None
    order = -1 if frames.colour == "BGR" else 1

    def show(step: Step) -> np.ndarray:
        frame = step.observations[0]
        frame = frame if in_record is None else frames_in(frame, in_record)
        newest = frame[..., -channels:][..., ::order]
        return np.broadcast_to(newest, (*frame.shape[:2], 3))

    return show


def _shot(
    picture: Any,
    step: Step,
    expert: np.ndarray | None,
    _: float,
    neurons: np.ndarray,
    *,
    in_record: tuple[int, int, int] | None,
) -> "Shot":
    """Return the content of a film frame of a drive: all images, action and info."""
    frame, after = step.observations[0], step.outcomes[0]
    frame = frame if in_record is None else frames_in(frame, in_record)
    steering = float(step.actions[0, 0])
    return Shot(
        picture=np.asarray(picture),
        frame=frame if frame.ndim == 3 else None,
        steering=steering,
        expert_steering=steering if expert is None else float(expert[0]),
        speed_mps=after["speed_mps"],
        cross_track_m=after["cross_track_m"],
        crashed=after["crashed"],
        neurons=neurons,
    )


def _label(
    picture: Any, step: Step, _: np.ndarray | None, total: float, neurons: np.ndarray
) -> np.ndarray:
    """Write time, speed and return so far onto a rendered image, and put the neurons there."""
    info, size = step.outcomes[0], (BODY_WIDTH_PX, BODY_HEIGHT_PX)
    image = ImageOps.pad(Image.fromarray(np.asarray(picture)), size, color=(0, 0, 0))
    strip = ImageOps.expand(Image.fromarray(neurons), 2, (255, 255, 255))
    image.paste(strip, (_MARGIN_PX, _MARGIN_PX))
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((0, BODY_HEIGHT_PX - 40, *size), fill=(0, 0, 0, 170))
    texts = [
        f"{info['time_s']:.1f} s",
        *([f"{info['x_velocity']:.1f} m/s"] if "x_velocity" in info else []),
        f"return {total:.0f}",
    ]
    for i, text in enumerate(texts):
        where = (20 + 160 * i, BODY_HEIGHT_PX - 20)
        draw.text(where, text, (255, 255, 255), _font(22), anchor="lm")
    return np.ascontiguousarray(image)


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(get_data_path()) / _FONT), size_px)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Content of one frame of the film of a drive."""

    picture: np.ndarray
    """View of the car from behind after the step, RGB, shape (height, width, 3)."""
    frame: np.ndarray | None
    """Camera frame before the step, RGB, shape (height, width, 3); None without a camera."""
    steering: float
    """Steering of the policy in [-1, 1], positive to the left."""
    expert_steering: float
    """Steering of the expert in [-1, 1], positive to the left."""
    speed_mps: float
    """Speed [m/s]."""
    cross_track_m: float
    """Offset from the centre line, positive to the left [m]."""
    crashed: bool
    """Whether the car left its lane in this step and was put back."""
    neurons: np.ndarray
    """Picture of the neurons, RGB, shape (height, width, 3)."""


class DriveLayout:
    """Composes the frames of the film of a drive."""

    def __init__(self) -> None:
        self._font = _font(24)
        self._crash_note_left = 0

    def compose(self, shot: Shot) -> np.ndarray:
        """Return the whole frame, shape (720, 1280, 3)."""
        size = (WIDTH_PX, HEIGHT_PX)
        picture = cv2.resize(shot.picture, size, interpolation=cv2.INTER_LINEAR)
        self._crash_note_left = (
            _CRASH_NOTE_FRAMES if shot.crashed else max(self._crash_note_left - 1, 0)
        )
        if shot.frame is not None:
            height, width = (_INSET_SCALE * size for size in shot.frame.shape[:2])
            camera = cv2.resize(shot.frame, (width, height), interpolation=cv2.INTER_LINEAR)
            _inset(picture, camera, WIDTH_PX - _MARGIN_PX - width, _MARGIN_PX)
        bottom_px = HEIGHT_PX - _STRIP_PX - _MARGIN_PX
        _inset(picture, shot.neurons, _MARGIN_PX, bottom_px - shot.neurons.shape[0])
        if self._crash_note_left:
            self._write_crash_note(picture)
        strip = picture[-_STRIP_PX:]
        strip[:] = (0.3 * strip).astype(np.uint8)
        self._write_line(strip, shot)
        return picture

    def _write_line(self, strip: np.ndarray, shot: Shot) -> None:
        """Write the instruments into the dark strip, in place."""
        image = Image.fromarray(strip)
        draw = ImageDraw.Draw(image)

        def write(x_px: float, text: str, colour: tuple[int, int, int], anchor: str = "lm") -> None:
            draw.text((x_px, _STRIP_PX // 2), text, colour, self._font, anchor=anchor)

        side = "left" if shot.cross_track_m >= 0.0 else "right"
        write(_MARGIN_PX, "speed", _GREY)
        write(_MARGIN_PX + 90, f"{shot.speed_mps:.1f} m/s", _WHITE)
        write(_MARGIN_PX + 250, "off centre", _GREY)
        write(_MARGIN_PX + 392, f"{abs(shot.cross_track_m):.2f} m {side}", _WHITE)
        write(_GAUGE_CENTRE_PX - _GAUGE_HALF_PX - _MARGIN_PX, "steering", _GREY, anchor="rm")
        _draw_gauge(draw, shot)
        write(_GAUGE_CENTRE_PX + _GAUGE_HALF_PX + _MARGIN_PX, "| expert", _WHITE)
        strip[:] = np.asarray(image)

    def _write_crash_note(self, picture: np.ndarray) -> None:
        """Write into the upper left corner, in place, that the car was put back after a crash."""
        corner = picture[_MARGIN_PX : _MARGIN_PX + _STRIP_PX, _MARGIN_PX : _MARGIN_PX + 360]
        image = Image.new("RGB", (corner.shape[1], corner.shape[0]), _VERMILION)
        text = "crash: put back on the lane"
        middle = (image.width // 2, image.height // 2)
        ImageDraw.Draw(image).text(middle, text, _WHITE, self._font, anchor="mm")
        corner[:] = np.asarray(image)


def _inset(picture: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    """Put an image with a white border at a place [px] of the picture, in place."""
    height, width = image.shape[:2]
    picture[top - 2 : top + height + 2, left - 2 : left + width + 2] = 255
    picture[top : top + height, left : left + width] = image


def _draw_gauge(draw: ImageDraw.ImageDraw, shot: Shot) -> None:
    """Draw the policy's steering as a bar from the centre, and the expert's as a white mark."""
    middle = _STRIP_PX // 2
    # Left on the gauge is left on the road.
    policy_px, expert_px = (
        _GAUGE_CENTRE_PX - round(_GAUGE_HALF_PX * value)
        for value in (shot.steering, shot.expert_steering)
    )
    ends = (_GAUGE_CENTRE_PX - _GAUGE_HALF_PX, _GAUGE_CENTRE_PX + _GAUGE_HALF_PX)
    draw.rounded_rectangle((ends[0], middle - 8, ends[1], middle + 8), 8, fill=(70, 70, 70))
    bar = sorted((_GAUGE_CENTRE_PX, policy_px))
    draw.rectangle((bar[0], middle - 8, bar[1], middle + 8), fill=_BLUE)
    draw.rectangle((_GAUGE_CENTRE_PX - 1, middle - 12, _GAUGE_CENTRE_PX, middle + 12), fill=_GREY)
    draw.rectangle((expert_px - 1, middle - 14, expert_px + 1, middle + 14), fill=_WHITE)
