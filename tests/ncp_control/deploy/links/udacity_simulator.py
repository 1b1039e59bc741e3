"""A client that behaves like the Unity asset of the Udacity simulator, on the loopback interface.

    python udacity_simulator.py --port 4567 --comma      drives on a road until it is hung up on

It never sends `40`, sends telemetry at once and again on the open packet, sends its own pings,
answers every steer with telemetry, and writes numbers as its language does.
"""

import argparse
import base64
import json
import threading
import time
from contextlib import suppress

import cv2
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ncp_control.contract import View
from ncp_control.deploy.links.udacity import CREEP_MPH, LIKE_OUR_WORLD, read_number

MPS_PER_MPH = 0.44704
FRAME_S = 1 / 60
"""Time between two pictures on the simulator's screen [s]; it answers in the next one."""
LONGEST_STEP_S = 1 / 3
"""Longest time for which it moves the car at once [s], Unity's default."""


class Simulator:
    """Connects to a port, perhaps before somebody listens there.

    Args:
        port: The port.
        comma: Whether numbers have decimal commas.
        car: What drives and is seen: see `RoadCar`; noise, and a speed by the throttle, if None.
        ping_s: Time between its pings [s]; only one, at the begin, if None.
        manual: How often a person takes over, and for how long [s]; they brake. Never if None.
    """

    def __init__(self, port, comma=False, *, car=None, ping_s=None, manual=None):
        self.url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
        self.comma, self.speed_mph, self.is_manual = comma, 0.0, False
        self.car, self.ping_s, self.manual = car, ping_s, manual
        self.steers, self.pings, self.pongs, self.manuals, self.packets = [], 0, 0, 0, []
        self.latencies_s, self.told_s, self.handovers = [], None, 0
        self.rng = np.random.default_rng(0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def number(self, value):
        text = f"{value:.4f}"
        return text.replace(".", ",") if self.comma else text

    def telemetry(self):
        values = {}
        if not self.is_manual:
            picture = self.rng.integers(0, 255, (160, 320, 3), np.uint8)
            if self.car is not None:
                picture = np.ascontiguousarray(self.car.image[:, :, ::-1])
            jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
            values = {"steering_angle": self.number(0.0), "throttle": self.number(0.2),
                      "speed": self.number(self.speed_mph),
                      "image": base64.b64encode(jpeg).decode()}  # fmt: skip
        self.told_s = None if self.is_manual else time.monotonic()
        self.socket.send("42" + json.dumps(["telemetry", values]))

    def run(self):
        for _ in range(5000):
            try:
                with connect(self.url, compression=None) as self.socket, suppress(ConnectionClosed):
                    self.talk()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)

    def ping(self):
        self.pings, self.pinged_s = self.pings + 1, time.monotonic()
        self.socket.send("2")

    def talk(self):
        self.begun_s = self.moved_s = time.monotonic()
        self.ping()
        self.telemetry()
        for message in self.socket:
            self.packets = [*self.packets, message[:1]][:8]
            if self.ping_s is not None and time.monotonic() - self.pinged_s > self.ping_s:
                self.ping()
            if message[:1] == "0":
                self.telemetry()
            elif message == "3":
                self.pongs += 1
            elif message.startswith('42["manual"'):
                self.manuals += 1
                self.hand_over(self.manuals < 5 if self.manual is None else self.is_persons_turn())
                if self.car is not None:
                    time.sleep(FRAME_S)
                    self.move()
                self.telemetry()
            elif message.startswith('42["steer"'):
                self.take(json.loads(message[2:])[1])

    def take(self, values):
        """Obey a command, and answer it."""
        if self.told_s is not None:
            self.latencies_s.append(time.monotonic() - self.told_s)
        self.steers.append(values)
        if self.manual is not None:
            self.hand_over(self.is_persons_turn())
        self.move(read_number(values["steering_angle"]), read_number(values["throttle"]))
        self.telemetry()

    def hand_over(self, is_manual):
        self.handovers += is_manual and not self.is_manual
        self.is_manual = is_manual

    def is_persons_turn(self):
        every_s, long_s = self.manual
        return (time.monotonic() - self.begun_s) % every_s > every_s - long_s

    def move(self, angle=None, throttle=-1.0):
        """Drive for the time that has passed; a person steers if no angle is given."""
        if self.car is None:
            self.speed_mph = max(self.speed_mph + throttle, 0.0)
            return
        # A simulator that is late does not catch up with more than this.
        self.moved_s = max(self.moved_s, time.monotonic() - LONGEST_STEP_S)
        while time.monotonic() - self.moved_s >= self.car.period_s:
            self.moved_s += self.car.period_s
            if angle is None:
                self.car.step_by_person()
            else:
                self.car.step(angle, is_braking=throttle <= 0.0)
        self.speed_mph = self.car.info["speed_mps"] / MPS_PER_MPH

    def close(self):
        self.socket.close()
        self.thread.join(5.0)

    def numbers(self):
        """Return what it counted; a ping of the last second may have come too late."""
        ended_early = self.pongs < self.pings and time.monotonic() - self.pinged_s < 1.0
        latency_ms = 1e3 * np.array(self.latencies_s or [np.nan])
        return {
            "frames": len(self.steers), "pings": self.pings - ended_early, "pongs": self.pongs,
            "manual_answers": self.manuals, "handovers": self.handovers,
            "latency_ms": {name: round(float(np.quantile(latency_ms, share)), 2)
                           for name, share in (("median", 0.5), ("p99", 0.99), ("largest", 1.0))},
            "seconds": round(time.monotonic() - self.begun_s, 1),
            "crashes": getattr(self.car, "crashes", 0), "speed_mph": round(self.speed_mph, 2),
        }  # fmt: skip


def main():
    from tests.ncp_control.deploy.links.road_car import RoadCar

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=4567)
    parser.add_argument("--comma", action="store_true")
    parser.add_argument("--ping-s", type=float, default=25.0)
    parser.add_argument("--manual", type=float, nargs=2, default=(60.0, 5.0))
    words = parser.parse_args()
    car = RoadCar(
        (160, 320),
        View(crop_top=LIKE_OUR_WORLD[0], crop_bottom=LIKE_OUR_WORLD[1]),
        max_steer_deg=25.0,
    )
    assert car.info["speed_mps"] / MPS_PER_MPH > CREEP_MPH
    simulator = Simulator(words.port, words.comma, car=car, ping_s=words.ping_s,
                          manual=tuple(words.manual))  # fmt: skip
    simulator.thread.join()
    print(json.dumps(simulator.numbers()))


if __name__ == "__main__":
    main()
