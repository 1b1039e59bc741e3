"""Ctrl-C while a world is built is an exception, not the end of the process."""

import contextlib
import signal

import mujoco

from envs.locomotion import make_locomotion


def test_ctrl_c_while_mujoco_reads_a_model_can_be_caught(start_child):
    def build_and_stop():
        stops, builds, is_building = 0, 0, False

        def stop(*_):
            nonlocal stops
            stops += 1
            if is_building:
                raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, stop)
        while stops < 100:
            builds += 1
            # The latter where MuJoCo itself was stopped, in Python code of its own.
            with contextlib.suppress(KeyboardInterrupt, mujoco.UnexpectedError):
                is_building = True
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + builds % 10))
                make_locomotion("halfcheetah")
                is_building = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    assert start_child(build_and_stop)() == 0
