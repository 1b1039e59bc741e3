"""Camera of `camera.py`, rendered by MuJoCo: the painted ground as a textured plane.

One model and one OpenGL context serve all tracks: a new track is copied into the texture. Sky and
haze are those of the OpenCV camera, so the two cameras differ only in how they sample the ground.

Without a display, OpenGL comes from EGL or OSMesa. If MUJOCO_GL is set, MuJoCo loads one of them at
import and fails where it is missing. Here the library is chosen only when a camera is built.
"""

# mujoco is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

import ctypes.util
import importlib
import math
import os
from typing import Any

import mujoco
import numpy as np

from envs.driving.camera import Backdrop, CameraGeometry, Pose
from envs.driving.texture import DRIVING_TEXELS, EXTENT_M, Ground, Image, scale_colour

DEBIAN_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6"

# The sheet of plain grass lies a little lower, so that the track's ground covers it.
_SCENE_XML = """
<mujoco model="ground">
  <visual>
    <global offwidth="{width}" offheight="{height}"/>
    <quality offsamples="0" shadowsize="0"/>
    <map znear="0.001" zfar="10"/>
    <headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/>
  </visual>
  <statistic extent="{extent}" center="0 0 0"/>
  <asset>
    <texture name="ground" type="2d" builtin="flat" width="{texels}" height="{texels}"/>
    <material name="ground" texture="ground" texuniform="false" texrepeat="1 1" specular="0"/>
    <material name="beyond" specular="0"/>
  </asset>
  <worldbody>
    <geom name="ground" type="plane" size="{half} {half} 1" material="ground"/>
    <geom name="beyond" type="plane" size="{far} {far} 1" pos="0 0 -0.1" material="beyond"/>
  </worldbody>
</mujoco>
"""


class MujocoCamera:
    """Camera that renders the painted ground with OpenGL.

    Args:
        geometry: Lens and mount.

    Raises:
        ValueError: If neither EGL nor OSMesa can be used.
    """

    def __init__(self, geometry: CameraGeometry) -> None:
        self.geometry = geometry
        self._context = _make_gl_context(geometry.width_px, geometry.height_px)
        self._context.make_current()
        self._model = mujoco.MjModel.from_xml_string(
            _SCENE_XML.format(
                width=geometry.width_px,
                height=geometry.height_px,
                texels=DRIVING_TEXELS,
                half=0.5 * EXTENT_M,
                far=5.0 * EXTENT_M,
                extent=EXTENT_M,
            )
        )
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._renderer = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._scene = mujoco.MjvScene(self._model, maxgeom=8)
        self._view = mujoco.MjrRect(0, 0, geometry.width_px, geometry.height_px)
        self._backdrop: Backdrop | None = None

    def set_ground(self, ground: Ground) -> None:
        """Copy another painted track into the texture.

        Args:
            ground: Ground painted with `DRIVING_TEXELS`.
        """
        self._context.make_current()
        self._model.tex_data[:] = ground.levels[0].ravel()
        mujoco.mjr_uploadTexture(self._model, self._renderer, 0)
        grass_rgb = scale_colour(ground.appearance.grass_rgb, ground.appearance.gain)
        self._model.material("beyond").rgba[:3] = np.array(grass_rgb) / 255.0
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            mujoco.MjvOption(),
            None,
            mujoco.MjvCamera(),
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        self._backdrop = Backdrop(self.geometry, ground.appearance)

    def render(self, pose: Pose) -> Image:
        """Return the frame seen from a pose: a new array of shape (height, width, 3), RGB."""
        if self._backdrop is None:
            raise RuntimeError(
                "`set_ground` must be called before `render`. Reset the environment."
            )
        self._context.make_current()
        self._aim(pose)
        mujoco.mjr_render(self._view, self._scene, self._renderer)
        upside_down = np.empty((self.geometry.height_px, self.geometry.width_px, 3), np.uint8)
        mujoco.mjr_readPixels(upside_down, None, self._view, self._renderer)
        frame = upside_down[::-1].copy()
        self._backdrop.finish(frame)
        return frame

    def _aim(self, pose: Pose) -> None:
        """Set both eyes of the scene's camera to the pose of the car's camera."""
        geometry = self.geometry
        cosine, sine = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        down, level = math.sin(geometry.pitch_rad), math.cos(geometry.pitch_rad)
        for eye in self._scene.camera:
            eye.pos = (
                pose.x_m + geometry.forward_m * cosine,
                pose.y_m + geometry.forward_m * sine,
                geometry.height_m,
            )
            eye.forward = (level * cosine, level * sine, -down)
            eye.up = (down * cosine, down * sine, level)
            half_height = 0.5 * geometry.height_px / geometry.focal_px * eye.frustum_near
            eye.frustum_bottom, eye.frustum_top = -half_height, half_height
            eye.frustum_center = 0.0
            eye.frustum_width = half_height * geometry.width_px / geometry.height_px

    def close(self) -> None:
        """Release the OpenGL context; the camera cannot be used afterwards."""
        self._context.make_current()
        self._renderer.free()
        self._context.free()


def _make_gl_context(width_px: int, height_px: int) -> Any:
    """Return an OpenGL context: that of MUJOCO_GL, or EGL, or OSMesa if there is no EGL."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    bindings = {"egl": "EGL", "osmesa": "OSMesa"}
    names = [wanted] if wanted in bindings else list(bindings)
    # PyOpenGL keeps the first platform it is given, so look for the library beforehand.
    found = [name for name in names if ctypes.util.find_library(bindings[name])]
    reason = "no " + " or ".join(f"lib{bindings[name]}" for name in names) + " was found"
    if found:
        try:
            return importlib.import_module(f"mujoco.{found[0]}").GLContext(width_px, height_px)
        except (ImportError, AttributeError, RuntimeError) as error:
            reason = f"lib{bindings[found[0]]} failed: {error}"
    raise ValueError(
        f"`camera` must be 'opencv' where there is no OpenGL, got 'mujoco' ({reason}). "
        f"Install the Debian packages {DEBIAN_PACKAGES}."
    )
