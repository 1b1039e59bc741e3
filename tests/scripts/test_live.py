import numpy as np
import pytest
import torch

from envs.driving.road import HELD_OUT_TRACKS
from ncp_control.learning.run import Run
from policies.driving import make_driving_policy
from scripts.evaluation import live
from scripts.evaluation.driving import track_place
from scripts.evaluation.settings import Evaluate


@pytest.mark.parametrize("model", ["ncp", "lstm"])
def test_pages_grow_with_the_drive_and_the_last_stands_still(model, tmp_path, monkeypatch):
    policy, pages = make_driving_policy(model, head="light"), []
    write = live.write_inspector

    def keep(path, panels, *, title, reload_s=None):
        pages.append((panels[0], reload_s))
        return write(path, panels, title=title, reload_s=reload_s)

    monkeypatch.setattr(live, "write_inspector", keep)
    place = track_place(HELD_OUT_TRACKS[0], 0.2, 0)
    path = live.watch_live(
        policy, tmp_path / "live.html", place, name=model, seconds=0.2, every_s=0.0
    )
    assert [len(panel.episode) for panel, _ in pages] == [1, 2, 3, 4, 5, 6, 6]
    assert [reload_s for _, reload_s in pages] == [0.0] * 6 + [None]
    bounds = [panel.state_bounds is not None for panel, _ in pages]
    assert bounds == [model == "ncp"] * 7, "an LSTM has no certified bounds"
    assert '"reload_s":null' in path.read_text()
    # What is shown is what the policy does with these frames.
    panel = pages[-1][0]
    last = panel.episode
    with torch.inference_mode():
        dt_s = torch.tensor(np.diff(last.time_s, prepend=-1 / 30), dtype=torch.float32)
        actions, state = policy(torch.from_numpy(last.pictures)[None], dt_s=dt_s[None])
    assert np.allclose(last.actions, actions[0].clamp(-1, 1).numpy(), atol=1e-5)
    visible = policy.circuit.cell.num_visible  # an LSTM's memory is not shown
    assert np.allclose(panel.states[-1], state[0, :visible].numpy(), atol=1e-5)


def test_a_stopped_drive_leaves_a_page_that_stands_still(tmp_path, monkeypatch):
    run = Run.create("evaluation", "ncp", Evaluate(policy="drive-ncp"), root=tmp_path)
    policy, write = make_driving_policy("ncp", head="light"), live.write_inspector
    monkeypatch.setattr(live, "write_inspector", stopped_after(3, write))
    place = track_place(HELD_OUT_TRACKS[0], 0.2, 0)
    path = run.folder / "live.html"
    with pytest.raises(KeyboardInterrupt):
        live.watch_live(policy, path, place, name="ncp", seconds=1.0, every_s=0.0)
    assert '"reload_s":null' in path.read_text()
    assert "live.html" in run.kept()


def test_the_first_page_is_there_at_once_and_the_drive_in_real_time(tmp_path, monkeypatch):
    """With a clock that stands still except while the drive waits."""
    clock_s, frames = [100.0], []
    monkeypatch.setattr(live.time, "monotonic", lambda: clock_s[0])
    monkeypatch.setattr(live.time, "sleep", lambda s: clock_s.append(clock_s.pop() + s))
    monkeypatch.setattr(
        live, "write_inspector", lambda path, panels, **_: frames.append(len(panels[0].episode))
    )
    policy = make_driving_policy("ncp", head="light")
    place = track_place(HELD_OUT_TRACKS[0], 1.0, 0)
    live.watch_live(policy, tmp_path / "x.html", place, name="ncp", seconds=1.0, every_s=0.49)
    assert frames == [1, 16, 30]
    assert np.isclose(clock_s[0], 101.0)


def stopped_after(count, write):
    """A writer of pages at whose page of a number Ctrl-C is pressed, once."""
    calls = iter(range(1, 1000))

    def write_or_stop(path, panels, **settings):
        if next(calls) == count:
            raise KeyboardInterrupt
        return write(path, panels, **settings)

    return write_or_stop
