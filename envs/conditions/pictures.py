"""Effects of light, weather and lens on frames. Each effect holds for one episode.

Each function takes a severity from 1 to 5 and a scene, and returns the effect for one episode: a
function from a frame to the changed frame. An effect may have a state, e.g. where the dirt sits.
Frames are uint8 arrays of shape (height, width, channels), with any size and number of channels.
Effects that need the horizon assume it at a third of the height from the top.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from envs.conditions.draws import Patches, Scene, Wander, at
from ncp_control.audit.faults import add_pixel_noise, to_pixels

Frame = np.ndarray
"""Image, uint8 of shape (height, width, channels)."""
Effect = Callable[[Frame], Frame]
"""Function from a frame to the changed frame."""

HORIZON = 0.33
"""Position of the horizon, as a share of the height from the top."""
NOISE_VARIANCES = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Variances of the pixel noise on images in [0, 1]; Lechner et al. 2020 use the last three."""
FOG_GREY, GLARE, MUD = 205.0, 255.0, 45.0


def noise(severity: int, scene: Scene) -> Effect:
    """Sensor noise: Gaussian in every pixel and channel."""
    variance = at(severity, *NOISE_VARIANCES)
    return lambda frame: add_pixel_noise(frame, variance, scene.random)


def night(severity: int, scene: Scene) -> Effect:
    """Darkness outside the headlights' cone, with the noise of an amplifying sensor."""
    light = at(severity, 0.5, 0.35, 0.22, 0.14, 0.08)
    deviation = at(severity, 2.0, 4.0, 6.0, 8.0, 10.0)
    y, x = scene.grid()
    cone = np.exp(-((x / 0.35) ** 2) - ((y - 0.75) / 0.3) ** 2)
    factor = (light + 0.25 * (1.0 - light) * cone)[..., None]
    return lambda frame: to_pixels(frame * factor + deviation * scene.normal(frame.shape))


def fog(severity: int, scene: Scene) -> Effect:
    """Grey that thickens with distance: e^(−distance/range) of the contrast remains."""
    near = fog_density(severity)
    y, _ = scene.grid()
    below = np.maximum(y - HORIZON, 1e-3)
    visible = np.where(y > HORIZON, np.exp(-near / below), np.float32(math.exp(-near / 0.02)))
    hidden = 1.0 - visible
    return lambda frame: blend(frame, hidden, FOG_GREY)


def fog_density(severity: int) -> float:
    """Return the share of the height below the horizon at which 1/e of the contrast is left."""
    return at(severity, 0.06, 0.12, 0.2, 0.35, 0.6)


def rain(severity: int, scene: Scene) -> Effect:
    """Streaks that change in every frame, and less contrast behind them."""
    share = at(severity, 0.002, 0.004, 0.007, 0.011, 0.016)
    contrast = at(severity, 0.9, 0.8, 0.7, 0.6, 0.5)
    slant = scene.random.uniform(-0.3, 0.3)
    count = max(round(share * scene.height * scene.width), 1)

    def effect(frame: Frame) -> Frame:
        veil = np.zeros((scene.height, scene.width), np.float32)
        lengths = scene.random.uniform(0.08, 0.25, count) * scene.height
        tops = scene.random.uniform(-0.1, 1.0, count) * scene.height
        lefts = scene.random.uniform(0.0, 1.0, count) * scene.width
        ends = np.array([[lefts, tops], [lefts + slant * lengths, tops + lengths]])
        streaks = np.rint(ends).astype(np.int32).transpose(2, 0, 1)  # streak, end, left and top
        cv2.polylines(veil, list(streaks), False, 0.55)
        grey = float(frame.mean())
        flat = grey + contrast * (frame.astype(np.float32) - grey)
        return blend(flat, veil, 225.0)

    return effect


def sun(severity: int, scene: Scene) -> Effect:
    """Low sun that blinds part of the view and veils the rest, with reflections in the lens."""
    strength = at(severity, 0.5, 0.8, 1.2, 1.8, 2.6)
    veil = at(severity, 0.05, 0.1, 0.17, 0.26, 0.36)
    radius = at(severity, 0.08, 0.12, 0.17, 0.23, 0.3)
    place = scene.random.uniform(-0.7, 0.7)
    drift = Wander(scene, 0.15, 3.0)
    y, x = scene.grid()

    def squares(left: float, top: float) -> np.ndarray:
        """Return the squared distance of each pixel from a place."""
        return ((x - left) / 2.0) ** 2 + (y - top) ** 2

    def effect(frame: Frame) -> Frame:
        left = place + float(drift.step())
        glare = strength * np.exp(-np.sqrt(squares(left, HORIZON)) / radius)
        for at_share, size in ((0.5, 0.05), (1.1, 0.08), (1.5, 0.04)):  # on the line to the middle
            middle = left * (1.0 - at_share), HORIZON + at_share * (0.6 - HORIZON)
            glare += 0.2 * strength * (squares(*middle) < size**2)
        return blend(frame, np.clip(glare + veil, 0.0, 1.0), GLARE)

    return effect


def shadows(severity: int, scene: Scene) -> Effect:
    """Shadows of trees and houses that move towards the camera."""
    light = at(severity, 0.75, 0.6, 0.45, 0.33, 0.22)
    mask = Patches(scene, 0.45)
    y, _ = scene.grid()

    def effect(frame: Frame) -> Frame:
        shade = np.where(y > HORIZON, mask.step(), 0.0)[..., None]
        return to_pixels(frame * (1.0 - (1.0 - light) * shade))

    return effect


def worn(severity: int, scene: Scene) -> Effect:
    """Worn markings: narrow bright marks fade into the ground beside them."""
    share = at(severity, 0.35, 0.55, 0.75, 0.9, 1.0)
    covered = at(severity, 0.4, 0.55, 0.7, 0.85, 1.0)
    mask = Patches(scene, covered)
    across = np.ones((1, max(2 * round(0.07 * scene.width) + 1, 3)), np.uint8)

    def effect(frame: Frame) -> Frame:
        bare = cv2.morphologyEx(frame, cv2.MORPH_OPEN, across).reshape(frame.shape)
        return blend(frame, share * mask.step(), bare)

    return effect


def wet(severity: int, scene: Scene) -> Effect:
    """Wet road: darker, and reflecting the scene above the horizon."""
    mirrored = at(severity, 0.15, 0.25, 0.38, 0.52, 0.68)
    horizon = round(HORIZON * scene.height)
    rows = horizon - (np.arange(scene.height) - horizon) * horizon // (scene.height - horizon)
    rows = np.clip(rows, 0, scene.height - 1)
    puddles = Patches(scene, 0.6)
    is_ground = np.arange(scene.height) >= horizon
    light = np.where(is_ground, 1.0 - 0.4 * mirrored, 1.0).astype(np.float32)[:, None, None]

    def effect(frame: Frame) -> Frame:
        mirror = cv2.blur(frame[rows], (1, max(scene.height // 8, 1))).reshape(frame.shape)
        share = mirrored * (0.4 + 0.6 * puddles.step()) * is_ground[:, None]
        return blend(frame * light, share, mirror)

    return effect


def blur(severity: int, scene: Scene) -> Effect:
    """Motion blur in a slowly changing direction."""
    length = max(round(at(severity, 0.015, 0.03, 0.05, 0.08, 0.12) * scene.width), 2)
    angle = Wander(scene, 0.5, 1.0)

    def effect(frame: Frame) -> Frame:
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        turn = float(angle.step())
        reach = 0.5 * length * np.array([math.cos(turn), math.sin(turn)])
        ends = [tuple(int(v) for v in np.rint(length + sign * reach)) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1)
        rows, columns = np.nonzero(kernel)
        kernel = kernel[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        return cv2.filter2D(frame, -1, kernel / kernel.sum()).reshape(frame.shape)

    return effect


def dirt(severity: int, scene: Scene) -> Effect:
    """Dirt on the lens: blots at fixed places."""
    covered = at(severity, 0.06, 0.12, 0.2, 0.3, 0.42)
    mask = scene.blots(covered)
    return lambda frame: blend(frame, 0.9 * mask, MUD)


def shake(severity: int, scene: Scene) -> Effect:
    """Loose camera: tilted for the whole episode, and shaken in every frame."""
    shift = at(severity, 0.008, 0.015, 0.025, 0.04, 0.06) * scene.height
    roll_deg = at(severity, 0.5, 1.0, 1.8, 2.8, 4.0)
    tilt_deg = scene.random.uniform(-roll_deg, roll_deg)
    move, roll = Wander(scene, shift, 0.08, size=2), Wander(scene, roll_deg, 0.08)
    centre = 0.5 * scene.width, 0.5 * scene.height

    def effect(frame: Frame) -> Frame:
        turned = cv2.getRotationMatrix2D(centre, tilt_deg + float(roll.step()), 1.0)
        turned[:, 2] += move.step()
        size = frame.shape[1], frame.shape[0]
        warped = cv2.warpAffine(frame, turned, size, borderMode=cv2.BORDER_REPLICATE)
        return warped.reshape(frame.shape)

    return effect


def exposure(severity: int, scene: Scene) -> Effect:
    """Exposure that jumps about once a second and then slowly recovers."""
    largest = math.log(at(severity, 1.3, 1.7, 2.3, 3.1, 4.2))
    decay = math.exp(-scene.frame_s / 0.7)
    off = scene.random.uniform(-largest, largest)

    def effect(frame: Frame) -> Frame:
        nonlocal off
        off *= decay
        if scene.random.random() < scene.frame_s:
            off = scene.random.uniform(-largest, largest)
        return to_pixels(frame * np.float32(math.exp(off)))

    return effect


def blackout(severity: int, scene: Scene) -> Effect:
    """Black frames for 0.1, 0.2, 0.5, 1 or 2 s, once every 5 s."""
    is_out = scene.spells(at(severity, 0.1, 0.2, 0.5, 1.0, 2.0))
    return lambda frame: np.zeros_like(frame) if is_out() else frame


def frozen(severity: int, scene: Scene) -> Effect:
    """Repeated frame for 0.1, 0.2, 0.5, 1 or 2 s, once every 5 s."""
    is_out = scene.spells(at(severity, 0.1, 0.2, 0.5, 1.0, 2.0))
    last: Frame | None = None

    def effect(frame: Frame) -> Frame:
        nonlocal last
        if not is_out() or last is None:
            last = frame
        return last

    return effect


def lost(severity: int, scene: Scene) -> Effect:
    """Lost frames, 10 to 50 % of all: the previous frame is shown again."""
    share = at(severity, 0.1, 0.2, 0.3, 0.4, 0.5)
    last: Frame | None = None

    def effect(frame: Frame) -> Frame:
        nonlocal last
        if scene.random.random() >= share or last is None:
            last = frame
        return last

    return effect


def blend(frame: np.ndarray, share: np.ndarray, colour: np.ndarray | float) -> Frame:
    """Blend a frame with another colour, by a share for each pixel.

    Args:
        frame: Shape (height, width, channels).
        share: Share of the other colour, from 0 to 1, shape (height, width).
        colour: One value for all pixels and channels, or an image of the frame's shape.
    """
    pixels, covered = np.asarray(frame, np.float32), np.asarray(share, np.float32)
    return to_pixels(pixels + covered[..., None] * (colour - pixels))
