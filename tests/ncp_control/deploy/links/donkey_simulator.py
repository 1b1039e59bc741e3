"""A server that speaks as the Donkey simulator does, on the loopback interface.

Source: `TcpMenuHandler.cs`, `TcpCarHandler.cs` and `JsonTcpClient.cs` of
github.com/tawnkramer/sdsandbox, and what github.com/tawnkramer/gym-donkeycar expects of it.
"""

import base64
import json
import re
import socket
import threading
import time
from contextlib import suppress

import cv2
import numpy as np

SCENES = ["generated_road", "warehouse", "generated_track"]


class DonkeySimulator:
    """One client at a time.

    Args:
        car: What drives and is seen: `step(angle, is_braking)` and `image`; a still picture of
            noise that changes if None.
        is_at_menu: Whether a scene must be chosen first.
        has_comma: Whether numbers have decimal commas.
        rate_hz: Frames a second.

    Attributes:
        received: All messages.
        commands: The controls among them: steering, throttle, brake.
    """

    def __init__(self, car=None, *, is_at_menu=True, has_comma=False, rate_hz=60.0):
        self.car, self.is_at_menu, self.has_comma = car, is_at_menu, has_comma
        self.period_s, self.rng = 1.0 / rate_hz, np.random.default_rng(0)
        self.received, self.commands, self.speed_mps = [], [], 0.0
        self.size, self.hits = (120, 160), ["none"]
        self.is_silent = self.is_driving = self.is_towed = self.is_closed = False
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.client, self.sending = None, threading.Lock()
        self.threads = [threading.Thread(target=self.serve, daemon=True)]
        self.threads[0].start()

    def serve(self):
        with suppress(OSError):
            self.client, _ = self.server.accept()
            drive = threading.Thread(target=self.drive, daemon=True)
            self.threads.append(drive)
            time.sleep(0.05)  # it speaks in its next frame
            self.tell(msg_type="scene_selection_ready" if self.is_at_menu else "car_loaded",
                      loaded="1")  # fmt: skip
            self.is_driving = not self.is_at_menu
            drive.start()
            text = ""
            while data := self.client.recv(4096):
                text = self.take(text + data.decode())

    def take(self, text):
        """Take whole messages by their braces, as the simulator does; return the rest."""
        while match := re.match(r"\s*(\{[^{}]*\})", text):
            message, text = json.loads(match[1]), text[match.end() :]
            self.received.append(message)
            self.answer(message, message.get("msg_type"))
        return text

    def answer(self, message, kind):
        if kind == "get_scene_names":
            self.tell(msg_type="scene_names", scene_names=SCENES)
        elif kind == "load_scene" and message["scene_name"] in SCENES:
            self.tell(msg_type="car_loaded")
            self.tell(msg_type="need_car_config")
            self.is_driving = True
        elif kind == "cam_config":
            self.size = int(message["img_h"]), int(message["img_w"])
        elif kind == "control":
            words = [message[name] for name in ("steering", "throttle", "brake")]
            assert all(isinstance(word, str) for word in words)
            self.commands.append([float(word) for word in words])

    def drive(self):
        """Send a frame at a fixed rate, in two pieces, with a ping now and then."""
        next_s, number = time.monotonic(), 0
        with suppress(OSError):
            while not self.is_closed:
                next_s = max(next_s + self.period_s, time.monotonic())
                time.sleep(max(next_s - time.monotonic(), 0.0))
                if self.is_silent or not self.is_driving:
                    continue
                steering, throttle, brake = (self.commands or [[0.0, 0.0, 1.0]])[-1]
                gain = 0.1 * throttle if not brake else -0.3
                if not self.is_towed:
                    self.speed_mps = max(self.speed_mps + gain, 0.0)
                if self.car is not None:
                    self.car.step(steering, is_braking=self.speed_mps == 0.0)
                self.send_frame(steering, throttle)
                number += 1
                if number % 10 == 0:
                    self.tell(msg_type="ping")

    def send_frame(self, steering, throttle):
        picture = self.rng.integers(0, 255, (*self.size, 3), np.uint8)
        if self.car is not None:
            picture = np.ascontiguousarray(self.car.image[:, :, ::-1])
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        self.tell(msg_type="telemetry", steering_angle=float(steering), throttle=float(throttle),
                  speed=self.speed_mps, image=base64.b64encode(jpeg).decode(),
                  hit=self.hits.pop() if len(self.hits) > 1 else self.hits[0], cte=-1.25e-05,
                  time=time.monotonic(), pos_x=1.5, pos_y=0.5, pos_z=-2.5)  # fmt: skip

    def tell(self, **message):
        text = json.dumps(message, separators=(",", ":"))
        text = re.sub(r"(:-?[\d.]+)e([-+])", r"\1E\2", text)  # as Unity writes it
        if self.has_comma:
            text = re.sub(r"(:-?\d+)\.(\d+)", r"\1,\2", text)
        data = (text + "\n").encode()
        with self.sending:
            self.client.sendall(data[: len(data) // 2])
            self.client.sendall(data[len(data) // 2 :])

    def close(self):
        self.is_closed = True
        for one in (self.client, self.server):
            with suppress(OSError, AttributeError):
                one.shutdown(socket.SHUT_RDWR)
        self.server.close()
        if self.client is not None:
            self.client.close()
        for thread in self.threads:
            thread.join(5.0)
