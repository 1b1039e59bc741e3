"""Link to the Udacity simulator in autonomous mode, e.g. `--link udacity`.

    ncp run drive-ncp --link udacity --link-options speed_mph=9
    then start the simulator and choose "autonomous mode"

The simulator is the client: it connects to ws://127.0.0.1:4567/socket.io/?EIO=4&transport=websocket
and uses a part of the Engine.IO 4 protocol:

| message                | from      | meaning                                                |
|------------------------|-----------|--------------------------------------------------------|
| `0{…}`, `40`           | server    | open, connect                                          |
| `2`, `3`               | simulator | ping, answered with a pong                             |
| `42["telemetry",{…}]`  | simulator | steering_angle, throttle, speed [mph], image; as texts |
| `42["telemetry",{}]`   | simulator | a person drives                                        |
| `42["steer",{…}]`      | server    | steering_angle, throttle; as texts                     |
| `42["manual",{}]`      | server    | answer to a person who drives                          |

The simulator never sends the `40` of Socket.IO, and sends telemetry twice when it connects. It
writes numbers in its computer's locale, possibly with a decimal comma. Replies use the same format,
since it would then read "0.1" as 1. Steering is positive to the right, in fractions of 25°. The
image is a JPEG of 160 x 320 pixels.

`stop` brakes above `CREEP_MPH` and lets the car roll below, where the simulator's brake is its
reverse gear, and while the speed is unknown. The simulator sends a frame after each command; if it
falls silent, the loop sends the last command again.
"""

import json
import math
import re
import threading
from dataclasses import replace
from typing import Any

import numpy as np

from ncp_control.contract import Contract
from ncp_control.deploy.links.base import check_address, check_steering
from ncp_control.deploy.links.images import decode_image, see
from ncp_control.framing import framer_for
from ncp_control.loop.clocks import Clock
from ncp_control.loop.link import LinkLost, Reading
from ncp_control.ranges import check_above_zero

MAX_STEER_RAD = math.radians(25.0)
"""Steering angle for the command 1."""
CREEP_MPH = 6.0
"""Speed below which the simulator's brake would drive backwards."""
LIKE_OUR_WORLD = 0.375, 0.156
"""Shares cut off at top and bottom so that images resemble those of LaneKeeping-v0."""
_MPS_PER_MPH = 0.44704
_MOST_BYTES = 2**20
_WITH_COMMA = re.compile(r"-?\d+,\d+")


class UdacityLink:
    """Link that is a server to which the simulator connects.

    Args:
        contract: The policy's contract.
        target: Not used.
        clock: The loop's clock.
        host: Address to listen on; the default is reachable only from this computer.
        port: Port to listen on; 0 for a free one.
        speed_mph: Speed to hold [mph].
        crop_top: Share of the image cut off at the top. If None: for a policy of LaneKeeping-v0,
            the share that resembles that world's images, otherwise that of the policy's contract.
        crop_bottom: Share of the image cut off at the bottom; default as for `crop_top`.
        connect_s: Longest time to wait for the simulator [s].

    Raises:
        ValueError: If the policy does not steer or observes no frames, or a setting is invalid.
        LinkLost: If the simulator does not connect.
    """

    def __init__(
        self,
        contract: Contract,
        target: str = "",
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 4567,
        speed_mph: float = 9.0,
        crop_top: float | None = None,
        crop_bottom: float | None = None,
        connect_s: float = 110.0,
    ) -> None:
        check_address(host, port, least_port=0)
        check_above_zero("speed_mph", speed_mph)
        check_above_zero("connect_s", connect_s)
        where = "the Udacity simulator"
        sign, unit_rad = check_steering(contract, where)
        self._scale = sign if unit_rad is None else sign * unit_rad / MAX_STEER_RAD
        if contract.world == "LaneKeeping-v0":
            crop_top = LIKE_OUR_WORLD[0] if crop_top is None else crop_top
            crop_bottom = LIKE_OUR_WORLD[1] if crop_bottom is None else crop_bottom
        self._framer = framer_for(contract.observation, where, crop_top, crop_bottom)
        self.contract = replace(contract, world="udacity", world_options={})
        self._clock, self._speed_mph = clock, speed_mph
        self._changed = threading.Condition()
        self._reading: Reading | None = None
        self._socket: Any = None
        self._has_come = self._has_gone = self._is_manual = self._has_comma = False
        self._steering, self._now_mph = 0.0, math.nan
        self._server = _serve(self._talk, host, port)
        self.port: int = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        print(f"waiting for the simulator's autonomous mode on {host}:{self.port}", flush=True)
        with self._changed:
            has_come = self._changed.wait_for(lambda: self._has_come, connect_s)
        if not has_come:
            self.close()
            raise LinkLost(f"no simulator connected within {connect_s:g} s")

    def read(self, timeout_s: float) -> Reading | None:
        """Return the newest telemetry."""
        with self._changed:
            self._changed.wait_for(lambda: self._reading is not None or self._has_gone, timeout_s)
            if self._has_gone:
                raise LinkLost("the simulator closed the connection")
            reading, self._reading = self._reading, None
        return reading

    def send(self, command: np.ndarray) -> None:
        """Steer and hold the speed; without throttle while the speed is unknown."""
        self._steering = float(np.clip(self._scale * float(command[0]), -1.0, 1.0))
        # Full throttle if 10 mph too slow; no throttle if too fast.
        throttle = float(np.clip(0.1 * (self._speed_mph - self._now_mph), 0.0, 1.0))
        self._steer(0.0 if math.isnan(throttle) else throttle)

    def stop(self) -> None:
        """Brake, with the steering of the last command; roll while the speed is unknown."""
        self._steer(-1.0 if self._now_mph > CREEP_MPH else 0.0)

    def close(self) -> None:
        """Close the connection and the server."""
        self._server.shutdown()
        if self._socket is not None:
            self._socket.close()

    def _steer(self, throttle: float) -> None:
        if self._is_manual:
            return
        values = {"steering_angle": self._word(self._steering), "throttle": self._word(throttle)}
        self._tell("42" + json.dumps(["steer", values]))

    def _word(self, value: float) -> str:
        text = f"{value:.4f}"
        return text.replace(".", ",") if self._has_comma else text

    def _tell(self, message: str) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(message)
        except (ConnectionClosed, OSError) as error:
            raise LinkLost("the simulator closed the connection") from error

    # --- in the server's thread -------------------------------------------------------------------

    def _talk(self, socket: Any) -> None:
        """Serve a client until it closes the connection.

        The simulator is the first client that sends telemetry; clients after it are refused.
        """
        from websockets.exceptions import ConnectionClosed

        with self._changed:
            if self._socket is not None:
                return
        try:
            opened = {"sid": "1", "upgrades": [], "pingInterval": 25000, "pingTimeout": 60000}
            socket.send("0" + json.dumps(opened))
            socket.send("40")
            for message in socket:
                self._hear(socket, message)
        except (ConnectionClosed, OSError):
            pass
        finally:
            with self._changed:
                self._has_gone = self._has_gone or self._socket is socket
                self._changed.notify_all()

    def _hear(self, socket: Any, message: str | bytes) -> None:
        """Process one message; messages that are not in the module's table are ignored."""
        if not isinstance(message, str):
            return
        if message.startswith("2"):
            socket.send("3" + message[1:])
        if not message.startswith("42"):
            return
        try:
            name, values = (*json.loads(message[2:]), None)[:2]
        except (ValueError, TypeError, RecursionError):
            return
        if name != "telemetry" or not isinstance(values, dict):
            return
        with self._changed:
            self._socket = self._socket or socket
            if self._socket is not socket:
                return
        if not values:
            socket.send('42["manual",{}]')
        self._keep(values)

    def _keep(self, values: dict[str, Any]) -> None:
        """Convert telemetry into a reading; without values, a person drives."""
        now_s = self._clock.now_s()
        frame, info = None, {}
        if values:
            words = [str(values.get(key, "")) for key in ("steering_angle", "throttle", "speed")]
            self._has_comma = any(_WITH_COMMA.fullmatch(word) for word in words)
            frame = see(self._framer, decode_image(values.get("image")))
            self._now_mph = read_number(words[2])
            if not math.isnan(self._now_mph):
                info["speed_mps"] = _MPS_PER_MPH * self._now_mph
        with self._changed:
            self._is_manual = not values
            self._reading = Reading(
                observation=frame, time_s=now_s, info=info, is_manual=self._is_manual
            )
            self._has_come = True
            self._changed.notify_all()


def read_number(word: str) -> float:
    """Parse a number with a decimal point or comma; NaN if it is not a finite number."""
    try:
        number = float(word.replace(",", "."))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _serve(handler: Any, host: str, port: int) -> Any:
    """Start and return a WebSocket server.

    Raises:
        ValueError: If `websockets` is not installed, or the port is taken.
    """
    try:
        from websockets.sync.server import serve
    except ModuleNotFoundError as error:
        raise ValueError(
            "`link` udacity needs websockets, which is not installed. Run"
            ' `pip install "ncp-control[udacity]"`.'
        ) from error
    try:
        return serve(handler, host, port, compression=None, max_size=_MOST_BYTES)
    except OSError as error:
        raise ValueError(
            f"`port` must be free to listen on, got {port} of {host}: {error.strerror}. Choose"
            " another with --link-options port=4568, or end what uses it."
        ) from error
