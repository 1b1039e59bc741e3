"""Demonstrations that several processes ask for at once."""

import threading
import time

import numpy as np
import pytest

from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from ncp_control.worlds import find_world
from scripts.training import from_expert
from scripts.training.drive import driving_task
from scripts.training.imitation_settings import Drive, Imitate


def test_demonstrations_are_made_once_and_waited_for(tmp_path, monkeypatch):
    folder, made, found, told = tmp_path / "run" / "demonstrations", [], [], []

    def record(*_):
        made.append(threading.get_ident())
        end_s = time.monotonic() + 30.0
        while len(told) < 3 and time.monotonic() < end_s:  # until both others wait
            time.sleep(0.01)
        with DemonstrationWriter(folder, (2,), np.float32, 1) as writer:
            for _ in range(3):
                writer.append(np.ones(2, np.float32), [0.5], 0.1)
        return Demonstrations.open(folder)

    def ask():
        found.append(from_expert.find_or_record(task, settings, folder.parent))

    monkeypatch.setattr(from_expert, "record", record)
    monkeypatch.setattr(from_expert, "print", told.append, raising=False)
    settings = Drive(tracks=1, data=None)
    task = driving_task(settings)
    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(made) == 1
    assert [len(shown.actions) for shown in found] == [3, 3, 3]
    assert sum("another process demonstrates" in line for line in told) == 2
    assert sum(", recorded before" in line for line in told) == 2


def test_a_share_of_random_choices_is_at_most_1():
    cart = find_world("gymnasium:CartPole-v1")
    from_expert.expert_error(Imitate(world="", expert_noise=(1.0,)), cart)
    told = r"`expert_noise` must be from 0 to 1 in 'gymnasium:CartPole-v1', got 1.5\. It is"
    with pytest.raises(ValueError, match=told):
        from_expert.expert_error(Imitate(world="", expert_noise=(1.5,)), cart)
