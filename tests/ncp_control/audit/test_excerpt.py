"""Excerpts: what was seen comes back, and a policy acts on it as it did."""

import numpy as np
import pytest
import torch

from ncp_control import LTC, VectorPolicy, auto_ncp, load
from ncp_control.audit.excerpt import act_on, read_excerpt, write_excerpt
from ncp_control.audit.inspector import TrackMap
from ncp_control.commands.audit import AuditPolicy, audit_policy
from ncp_control.commands.demo import Demo, demo
from ncp_control.episode import Episode
from ncp_control.policy import policy_folder
from ncp_control.policy.folder import EXCERPT_FILE
from ncp_control.records import frames_in, join, numbers_in
from ncp_control.replay import show


def seen(observations, **rest):
    time = len(observations)
    dt_s = np.linspace(0.01, 0.05, time)
    return Episode(
        time_s=np.cumsum(dt_s) - dt_s[0], dt_s=dt_s, observations=observations,
        actions=np.zeros((time, 1)), rewards=np.zeros(time), where="a place", **rest,
    )  # fmt: skip


def test_numbers_and_signals_come_back_as_they_were(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(7, 17)).astype(np.float32)
    speed = np.arange(7.0)
    episode = seen(numbers, signals={"speed [m/s]": speed, "leg": speed}, action_names=["leg"])
    excerpt = read_excerpt(write_excerpt(tmp_path / "it", episode))
    np.testing.assert_array_equal(excerpt.observations, numbers)
    np.testing.assert_array_equal(excerpt.dt_s, episode.dt_s)
    assert excerpt.where == "a place"
    assert list(excerpt.signals) == ["speed [m/s]"]  # what was done is done anew
    assert excerpt.pictures is None
    assert excerpt.track is None


def test_frames_come_back_nearly_as_they_were_and_equal_ones_are_stored_once(tmp_path):
    rows = np.linspace(0.0, 255.0, 200)[None, :, None] * np.ones((78, 1, 3))
    frames = np.stack([rows, rows, rows[:, ::-1]]).astype(np.uint8)
    edge = np.arange(8.0).reshape(4, 2)
    track = TrackMap(left_edge_m=edge, right_edge_m=-edge, driven_m=edge[:3])
    path = write_excerpt(tmp_path / "it", seen(frames), track)
    excerpt = read_excerpt(path)
    assert np.abs(excerpt.observations.astype(int) - frames).max() <= 12
    np.testing.assert_array_equal(excerpt.track.left_edge_m, edge)
    once = write_excerpt(tmp_path / "once", seen(frames[1:]), track)
    assert path.stat().st_size - once.stat().st_size < 100


def test_records_keep_their_numbers_and_nearly_their_frames(tmp_path):
    rows = np.linspace(0.0, 255.0, 200)[None, :, None] * np.ones((78, 1, 3))
    frames = np.stack([rows, rows[:, ::-1]]).astype(np.uint8)
    numbers = np.float32([[3.25, -1.0], [4.5, np.pi]])
    episode = seen(join(frames, numbers), record_frame=(78, 200, 3))
    excerpt = read_excerpt(write_excerpt(tmp_path / "it", episode))
    np.testing.assert_array_equal(numbers_in(excerpt.observations, (78, 200, 3)), numbers)
    came = frames_in(excerpt.observations, (78, 200, 3))
    assert np.abs(came.astype(int) - frames).max() <= 12


@pytest.mark.parametrize("name", ["drive-ncp", "road-ltc"])
def test_a_policy_acts_on_an_excerpt_as_step_by_step(name):
    folder = policy_folder(name)
    policy, excerpt = load(folder), read_excerpt(folder / EXCERPT_FILE)
    episode = act_on(policy, excerpt)
    policy.reset()
    steps = [
        policy.act(frame, dt_s)
        for frame, dt_s in zip(episode.recorded_observations[:30], episode.dt_s, strict=False)
    ]
    np.testing.assert_allclose(episode.actions[:30], np.stack(steps).reshape(30, -1), atol=1e-5)
    assert np.ptp(episode.actions, axis=0).min() > 0.05 and episode.has_frames


def test_damage_is_one_sentence(tmp_path):
    path = tmp_path / EXCERPT_FILE
    path.write_bytes(b"not an excerpt")
    with pytest.raises(ValueError, match="must be an excerpt"):
        read_excerpt(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_excerpt(tmp_path / "missing")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_one_sentence(tmp_path, keep):
    content = (policy_folder("drive-ncp") / EXCERPT_FILE).read_bytes()
    path = tmp_path / EXCERPT_FILE
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="must be an excerpt"):
        read_excerpt(path)


def test_the_demo_writes_a_page_of_every_shipped_excerpt(tmp_path, capsys, monkeypatch):
    torch.set_num_threads(1)
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or False)
    page = tmp_path / "page.html"
    demo(Demo(policy="drive-ncp", page=page))
    assert "VisualBackProp" in page.read_text()
    assert opened == [page.resolve().as_uri()]
    assert "open the page by hand" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Shipped policies with an excerpt are drive-ncp"):
        demo(Demo(policy="drive-cnn"))


def test_an_own_policy_without_an_excerpt_is_told_how_to_get_one_and_can_be_inspected_with_it(
    tmp_path, capsys
):
    folder = str(tmp_path / "mine")
    policy = VectorPolicy(LTC(auto_ncp(3, 8, 1)), observation_size=3)
    policy.save(folder)
    settings = Demo(policy=folder, page=tmp_path / "page.html", open=False)
    for ask in (lambda: demo(settings), lambda: audit_policy(AuditPolicy(policy=folder))):
        with pytest.raises(ValueError, match=r"ncp_control\.audit\.excerpt\.write_excerpt"):
            ask()
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    episode = show(policy, observations, np.full(20, 0.04), where="a table")
    write_excerpt(tmp_path / "mine" / EXCERPT_FILE, episode)
    demo(settings)
    audit_policy(AuditPolicy(policy=folder))
    assert "20 frames, 0.8 s, of a table" in capsys.readouterr().out
    assert "a table" in settings.page.read_text()
