"""Drive a Donkeycar with a policy: copy this file into the folder of your car.

    donkey createcar --template basic --path mycar
    cp donkeycar_drive.py mycar; cd mycar; python donkeycar_drive.py drive-ncp

Open http://CAR.local:8887 to drive by hand and to hand over to the pilot. In your own manage.py,
replace the pilot by NCPPilot, and DriveMode, which drives on in a safe stop, by `choose`.
"""
# pyright: reportMissingImports=false

import sys

import donkeycar
from donkeycar.parts.transform import Lambda

from ncp_control.deploy.links.donkeycar import NCPPilot

MAX_STEER_DEG, THROTTLE = 25.0, 0.2
"""Angle of the wheels at the command 1 (measure it) [degrees], and throttle of the pilot."""
PILOT_MODES = ("local_angle", "local")  # in "user" a person drives, in an unknown mode nobody


def choose(angle, throttle, mode, pilot_angle, pilot_throttle):
    """Return angle and throttle. In `local_angle`, too, a throttle 0 of the pilot is a stop."""
    if mode not in PILOT_MODES:
        return (angle, throttle) if mode == "user" else (0.0, 0.0)
    return pilot_angle, throttle if mode == "local_angle" and pilot_throttle else pilot_throttle


def make_vehicle(pilot, camera, person, steering, motor):
    """Return Donkeycar's loop with its parts, in the order in which they run."""
    user, chosen = ["user/angle", "user/throttle", "user/mode"], ["pilot/angle", "pilot/throttle"]
    car = donkeycar.vehicle.Vehicle()
    car.add(camera, outputs=["cam/image_array"], threaded=True)
    car.add(person, inputs=["cam/image_array"], outputs=user, threaded=True)
    car.add(Lambda(lambda mode: mode in PILOT_MODES), inputs=["user/mode"], outputs=["run_pilot"])
    car.add(pilot, inputs=["cam/image_array"], outputs=chosen, run_condition="run_pilot")
    car.add(Lambda(choose), inputs=[*user, *chosen], outputs=["angle", "throttle"])
    car.add(steering, inputs=["angle"])
    car.add(motor, inputs=["throttle"])
    return car


if __name__ == "__main__":
    from donkeycar.parts.actuator import PCA9685, PWMSteering, PWMThrottle
    from donkeycar.parts.camera import PiCamera  # or another one
    from donkeycar.parts.controller import LocalWebController

    c = donkeycar.load_config()
    pilot = NCPPilot(sys.argv[1], throttle=THROTTLE, max_steer_deg=MAX_STEER_DEG)
    camera = PiCamera(c.IMAGE_W, c.IMAGE_H, c.IMAGE_DEPTH)
    person = LocalWebController(c.WEB_CONTROL_PORT, c.WEB_INIT_MODE)
    servo, esc = (PCA9685(channel, c.PCA9685_I2C_ADDR, busnum=c.PCA9685_I2C_BUSNUM)
                  for channel in (c.STEERING_CHANNEL, c.THROTTLE_CHANNEL))  # fmt: skip
    steering = PWMSteering(servo, c.STEERING_LEFT_PWM, c.STEERING_RIGHT_PWM)
    motor = PWMThrottle(esc, max_pulse=c.THROTTLE_FORWARD_PWM, zero_pulse=c.THROTTLE_STOPPED_PWM,
                        min_pulse=c.THROTTLE_REVERSE_PWM)  # fmt: skip
    car = make_vehicle(pilot, camera, person, steering, motor)
    car.start(rate_hz=c.DRIVE_LOOP_HZ, max_loop_count=c.MAX_LOOPS)
