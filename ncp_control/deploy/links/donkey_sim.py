"""Link to the Donkey simulator, e.g. `--link donkey-sim` or `--link donkey-sim:generated_track`.

    start the simulator, then
    ncp run drive-ncp --link donkey-sim:generated_road

The simulator is the server, on TCP port 9091 of this computer. Both sides send JSON objects; the
simulator ends each with a line feed. All values sent to it are texts, with decimal points:

| message                                   | from      | meaning                              |
|-------------------------------------------|-----------|--------------------------------------|
| `scene_selection_ready`                   | simulator | its menu is open                     |
| `get_scene_names`, `scene_names`          | both      | the scenes of the menu               |
| `load_scene`                              | link      | choose one                           |
| `car_loaded`, `need_car_config`           | simulator | there is a car; how is it to look?   |
| `car_config`, `cam_config`                | link      | name and colour; size of the image   |
| `telemetry`                               | simulator | image, speed, cte, hit and more      |
| `control` {steering, throttle, brake}     | link      | the command                          |

If a scene was already chosen by hand, it is kept. Steering is positive to the right, in fractions
of 16 degrees. The image is a JPEG or PNG in base64. The simulator writes numbers in its computer's
locale, possibly with a decimal comma. `stop` brakes, without throttle.

Source: github.com/tawnkramer/gym-donkeycar (`core/client.py`, `envs/donkey_sim.py`) and
github.com/tawnkramer/sdsandbox (`TcpCarHandler.cs`, `TcpMenuHandler.cs`).
"""

import contextlib
import json
import math
import re
import socket
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ncp_control.contract import Contract, FramesContract
from ncp_control.deploy.links.base import HOW_MUCH_THROTTLE, check_address, check_steering
from ncp_control.deploy.links.images import decode_image, see
from ncp_control.framing import framer_for
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import LinkLost, Reading, with_unread
from ncp_control.names import check_name
from ncp_control.ranges import check_above_zero, check_part, is_number
from ncp_control.steering import check_largest_angle

SCENE = "generated_track"
"""Default scene."""
_MOST_BYTES = 2**23
_WITH_COMMA = re.compile(r'("\s*:\s*-?\d+),(\d+(?:[eE][+-]?\d+)?\s*[,}])')
"""Matches a number with a decimal comma in a JSON object."""
_PAUSE_S = 0.1
"""Pause after each message about car and camera [s]. Older simulators take messages that arrive
together for one message."""
_TIMEOUT_S = 1.0
"""Longest time to connect, or to wait until the socket takes a command [s]."""
_RETRY_S = 0.2


class DonkeySimLink:
    """Link that is a client of the simulator.

    Args:
        contract: The policy's contract.
        target: Scene to load; `SCENE` if empty.
        clock: The loop's clock.
        host: Computer of the simulator.
        port: TCP port of the simulator.
        speed_mps: Speed to hold [m/s], as measured by the simulator.
        throttle: Largest throttle.
        max_steer_deg: Steering angle for the command 1 [degrees].
        crop_top: Share of the image cut off at the top; that of the policy's contract if None.
        crop_bottom: Share of the image cut off at the bottom; that of the contract if None.
        connect_s: Longest time to wait for the simulator and its first image [s].

    Raises:
        ValueError: If the policy does not steer or observes no frames, a setting is out of range,
            or the simulator has no such scene.
        LinkLost: If the simulator does not answer or closes the connection.
    """

    def __init__(
        self,
        contract: Contract,
        target: str = "",
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 9091,
        speed_mps: float = 1.5,
        throttle: float = 0.3,
        max_steer_deg: float = 16.0,
        crop_top: float | None = None,
        crop_bottom: float | None = None,
        connect_s: float = 110.0,
    ) -> None:
        check_address(host, port)
        check_above_zero("speed_mps", speed_mps)
        check_largest_angle(max_steer_deg)
        check_part("throttle", throttle, HOW_MUCH_THROTTLE)
        where = "the Donkey simulator"
        sign, unit_rad = check_steering(contract, where)
        largest_rad = math.radians(max_steer_deg)
        self._scale = sign if unit_rad is None else sign * unit_rad / largest_rad
        self._framer = framer_for(contract.observation, where, crop_top, crop_bottom)
        assert isinstance(contract.observation, FramesContract)
        self._width = max(160, contract.observation.shape[1])
        self.contract = replace(contract, world="donkey-sim", world_options={})
        self._clock, self._scene = clock, target or SCENE
        self._speed_mps, self._throttle = speed_mps, throttle
        self._changed, self._sending = threading.Condition(), threading.Lock()
        self._reading: Reading | None = None
        self._scenes: list[str] | None = None
        self._has_come = self._has_car = self._is_closed = False
        self._end: str | None = None  # reason why no more messages come
        self._steering, self._now_mps = 0.0, math.nan
        check_above_zero("connect_s", connect_s)
        until_s = time.monotonic() + connect_s
        print(f"waiting for the Donkey simulator on {host}:{port}", flush=True)
        self._socket = _connect(host, port, until_s)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._wait_for_car(until_s, connect_s)

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest telemetry."""
        with self._changed:
            self._changed.wait_for(lambda: self._reading is not None or self._end, timeout_s)
            if self._end is not None:
                raise LinkLost(self._end)
            reading, self._reading = self._reading, None
        return reading

    def send(self, command: np.ndarray) -> None:
        """Steer and hold the speed; without a known speed, the throttle is 0."""
        self._steering = float(np.clip(self._scale * float(command[0]), -1.0, 1.0))
        # Largest throttle if a third too slow; no throttle if too fast.
        lack = 3.0 * (1.0 - self._now_mps / self._speed_mps)
        throttle = self._throttle * float(np.clip(lack, 0.0, 1.0)) if math.isfinite(lack) else 0.0
        self._control(throttle, 0.0)

    def stop(self) -> None:
        """Brake, with the steering of the last command."""
        self._control(0.0, 1.0)

    def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the listener
        self._socket.close()
        self._listener.join(2.0 * _TIMEOUT_S)

    def _wait_for_car(self, until_s: float, connect_s: float) -> None:
        """Wait for the first telemetry.

        Raises:
            ValueError: If the simulator has no such scene.
            LinkLost: If the simulator closes the connection or sends nothing.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_come or self._end, until_s - time.monotonic())
            scenes, end = self._scenes, self._end
            if self._has_come and end is None:
                return
        self.close()
        if scenes is not None:
            check_name("scene", self._scene, scenes)
        raise LinkLost(end or f"the simulator sent no image within {connect_s:g} s")

    def _control(self, throttle: float, brake: float) -> None:
        self._tell("control", steering=f"{self._steering:.4f}", throttle=f"{throttle:.4f}",
                   brake=f"{brake:.1f}")  # fmt: skip

    def _tell(self, kind: str, **values: str) -> None:
        # Without a line feed, as gym-donkeycar does: the simulator splits messages by their braces.
        message = json.dumps({"msg_type": kind, **values}).encode()
        try:
            with self._sending:
                self._socket.sendall(message)
        except OSError as error:
            raise LinkLost("the simulator closed the connection") from error

    # --- in the listener's thread -----------------------------------------------------------------

    def _listen(self) -> None:
        """Process messages until the simulator closes the connection; record the reason."""
        try:
            end = self._take_messages()
        except Exception as error:  # if this thread died silently, the loop would wait forever
            end = f"the link failed with {type(error).__name__}: {error}"
        self._finish(end)

    def _take_messages(self) -> str:
        """Process messages until there are no more, and return the reason."""
        rest = b""
        while not self._is_closed:
            try:
                data = self._socket.recv(2**18)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._hear(line)
            except TimeoutError:
                continue
            except OSError:
                break
            if not data or self._end is not None:
                break
            if len(rest) > _MOST_BYTES:
                return f"the simulator sent a message of more than {_MOST_BYTES} bytes"
        return "the simulator closed the connection"

    def _finish(self, end: str) -> None:
        with self._changed:
            self._end = self._end or end
            self._changed.notify_all()

    def _hear(self, line: bytes) -> None:
        """Process one message; messages that are not in the module's table are ignored."""
        message = read_message(line)
        kind = message.get("msg_type")
        if kind == "scene_selection_ready":
            self._tell("get_scene_names")
        elif kind == "scene_names":
            self._choose(message.get("scene_names"))
        elif kind in ("car_loaded", "need_car_config"):
            self._control(0.0, 1.0)
            self._set_up()
            self._has_car = True
        elif kind == "telemetry" and self._has_car:
            self._keep(message)

    def _choose(self, names: object) -> None:
        """Load the scene if the simulator has it."""
        if not isinstance(names, list):
            return
        if self._scene in names:
            self._tell("load_scene", scene_name=self._scene)
            return
        self._scenes = [str(name) for name in names]
        self._finish("the simulator has no such scene")

    def _set_up(self) -> None:
        """Send the car's appearance and the camera's image size; zeros keep other settings."""
        height = 3 * self._width // 4
        self._tell("car_config", body_style="donkey", body_r="0", body_g="114", body_b="178",
                   car_name="ncp", font_size="100")  # fmt: skip
        time.sleep(_PAUSE_S)
        zeros = dict.fromkeys(("fov", "fish_eye_x", "fish_eye_y", "offset_x", "offset_y",
                               "offset_z", "rot_x", "rot_y", "rot_z"), "0")  # fmt: skip
        self._tell("cam_config", img_w=str(self._width), img_h=str(height), img_d="3",
                   img_enc="JPG", **zeros)  # fmt: skip
        time.sleep(_PAUSE_S)

    def _keep(self, message: dict[str, Any]) -> None:
        """Convert telemetry into a reading."""
        now_s = self._clock.now_s()
        info = {"is_hit": float(message.get("hit", "none") != "none")}
        for name, key in (("speed_mps", "speed"), ("cross_track", "cte")):
            value: Any = message.get(key)
            if is_number(value):
                info[name] = float(value)
        frame = see(self._framer, decode_image(message.get("image")))
        with self._changed:
            self._now_mps = info.get("speed_mps", math.nan)
            reading = Reading(observation=frame, time_s=now_s, info=info)
            self._reading = with_unread(reading, self._reading)
            self._has_come = True
            self._changed.notify_all()


def read_message(line: bytes) -> dict[str, Any]:
    """Parse a message of the simulator, possibly with decimal commas; {} if it is not valid."""
    text = line.decode("utf-8", "replace").strip()
    for one in (text, _WITH_COMMA.sub(r"\1.\2", text)):
        try:
            message = json.loads(one)
        except (ValueError, RecursionError):
            continue
        return message if isinstance(message, dict) else {}
    return {}


def _connect(host: str, port: int, until_s: float) -> socket.socket:
    """Connect to the simulator, which may still be starting.

    Raises:
        LinkLost: If no simulator listens there.
    """
    while True:
        try:
            found = socket.create_connection((host, port), _TIMEOUT_S)
        except OSError as error:
            if time.monotonic() + _RETRY_S < until_s:
                time.sleep(_RETRY_S)
                continue
            reason = f"no simulator listens on {host}:{port} ({error.strerror or error})"
            raise LinkLost(reason) from error
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.settimeout(_TIMEOUT_S)
        return found
