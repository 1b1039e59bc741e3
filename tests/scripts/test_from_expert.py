"""Demonstrations that several processes ask for at once."""

import threading
import time

import numpy as np

from ncp_control.learning.demonstrations import Demonstrations, DemonstrationWriter
from scripts.training.from_expert import find_or_show


def test_demonstrations_are_made_once_and_waited_for(tmp_path, capsys):
    folder, made, found = tmp_path / "data" / "drives", [], []

    def show():
        made.append(threading.get_ident())
        time.sleep(0.3)
        with DemonstrationWriter(folder, (2,), np.float32, 1) as writer:
            for _ in range(3):
                writer.append(np.ones(2, np.float32), [0.5], 0.1)
        return Demonstrations.open(folder)

    askers = [threading.Thread(target=lambda: found.append(find_or_show(folder, show)))
              for _ in range(3)]  # fmt: skip
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(made) == 1
    assert [len(shown.actions) for shown in found] == [3, 3, 3]
    told = capsys.readouterr().out
    assert told.count("another process demonstrates") == 2
    assert told.count(", recorded before") == 2
