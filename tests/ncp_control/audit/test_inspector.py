"""The page's data: what is stored can be read back; bad input is refused in one sentence."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncp_control.audit import inspector
from ncp_control.audit.inspector import write_inspector
from ncp_control.audit.inspector_data import pack_images, pack_table
from ncp_control.wiring_rules import auto_ncp
from tests.ncp_control.audit.pages import lone_frame


def read_data(path):
    text = re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1]
    return json.loads(text)


def unpack(table):
    levels = np.frombuffer(base64.b64decode(table["levels"]), "<u2").reshape(table["shape"])
    return np.array(table["low"]) + np.array(table["step"]) * levels


def test_a_stored_table_differs_by_half_a_step_of_its_column():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(50, 3)) * [1e-4, 1.0, 1e4]
    values[:, 1] = 7.25  # a constant column is stored exactly
    stored = unpack(pack_table(values))
    half_steps = np.ptp(values, axis=0) / 65535 / 2
    assert (np.abs(stored - values).max(axis=0) <= half_steps * (1 + 1e-6) + 1e-12).all()
    assert (stored[:, 1] == 7.25).all()


def test_sheets_hold_every_kept_frame_in_order():
    frames = np.zeros((700, 40, 60, 3), dtype=np.uint8) + np.arange(700)[:, None, None, None] // 4
    frames = frames.astype(np.uint8)
    stored = pack_images(frames, height_px=20, quality=90, stride=2)
    assert (stored["width"], stored["height"]) == (30, 20)
    assert len(stored["sheets"]) == -(-350 // stored["per_sheet"])
    for kept in (0, 1, 349):
        sheet = base64.b64decode(stored["sheets"][kept // stored["per_sheet"]])
        cell = kept % stored["per_sheet"]
        x, y = cell % stored["columns"] * 30 + 15, cell // stored["columns"] * 20 + 10
        level = np.asarray(Image.open(io.BytesIO(sheet)))[y, x, 0]
        assert abs(int(level) - int(frames[2 * kept, 0, 0, 0])) <= 2


def test_long_episodes_are_stored_coarsely_enough(make_episode, tmp_path, monkeypatch):
    """Noise is the hardest to compress; the limit is scaled down to keep the test short."""
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (120, 39, 50, 3), dtype=np.uint8)
    page = write_inspector(tmp_path / "fine.html", [make_episode(pictures=noise)])
    fine = page.stat().st_size
    monkeypatch.setattr(inspector, "MAX_BYTES", fine - 1)
    coarse = (
        write_inspector(tmp_path / "coarse.html", [make_episode(pictures=noise)]).stat().st_size
    )
    assert coarse < fine
    monkeypatch.setattr(inspector, "MAX_BYTES", 50_000)
    with pytest.raises(ValueError, match="`panels` must fit into 0 MB, got .* Show fewer"):
        write_inspector(tmp_path / "none.html", [make_episode(pictures=noise)])
    assert not (tmp_path / "none.html").exists()


@pytest.mark.slow
def test_thirty_seconds_of_two_policies_with_maps_fit(make_episode, tmp_path):
    """Camera-like content at its true size: smooth pictures, three maps each."""
    wiring = auto_ncp(32, 19, 1)
    count, rng = 900, np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 8, 20, 3), dtype=np.uint8)
    frames = coarse.repeat(10, axis=1).repeat(10, axis=2)
    maps = {f"map {i}": coarse[:, ::2, ::2, i % 3].repeat(5, 1).repeat(5, 2) for i in range(3)}
    states = rng.normal(size=(count, 19))
    long = make_episode(
        time_s=np.arange(count) / 30,
        wiring=wiring,
        neuron_names=wiring.neuron_names,
        states=states,
        timescales_s=np.exp(states),
        state_bounds=None,
        timescale_bounds_s=None,
        synaptic_currents=rng.normal(size=(count, wiring.num_synapses)),
        features=rng.normal(size=(count, 32)),
        actions=states[:, :1],
        signals={},
        track=None,
        pictures=frames,
        maps=maps,
    )
    assert write_inspector(tmp_path / "page.html", [long, long]).stat().st_size < 15_000_000


def test_a_page_is_whole_and_asks_for_nothing(make_episode, tmp_path):
    title = 'Drive </script><b>"1" & {{ script }}'
    page = write_inspector(tmp_path / "page.html", [make_episode()], title=title)
    text = page.read_text()
    data = read_data(page)
    assert data["title"] == title
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//)|@import|\bfetch\(", text)
    assert text.count("</script>") == 2
    assert "<b>" not in text
    assert np.allclose(data["episodes"][0]["time_s"], np.arange(120) / 30, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_only_one_or_two_policies_are_shown(make_episode, tmp_path):
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"must be one, or two to compare, got {count}"):
            write_inspector(tmp_path / "page.html", [make_episode()] * count)


def nan_at(array, *where):
    array = array.copy()
    array[where] = np.nan
    return array


@pytest.mark.parametrize(
    ("make_changes", "message"),
    [
        (lambda e: {"time_s": e.time_s[::-1]}, "`time_s` must be .* increasing"),
        (lambda e: {"time_s": e.time_s[:0]}, "`time_s` must be one or more"),
        (lambda e: {"states": nan_at(e.states, 5, 2)}, r"`states` must be finite, got nan at \(5"),
        (lambda e: {"states": e.states[1:]}, r"`states` must have shape \(120, 8\), got \(119, 8"),
        (lambda e: {"actions": e.actions[:, 0]}, r"`actions` must have shape \(120, 1\)"),
        (lambda e: {"timescales_s": -e.timescales_s}, "`timescales_s` must be > 0, got -0.0"),
        (lambda e: {"state_bounds": e.state_bounds.T}, r"`state_bounds` must have shape \(8, 2\)"),
        (lambda e: {"signals": {"x": e.time_s[:3]}}, r"`signals\['x'\]` must have shape \(120\)"),
        (lambda e: {"neuron_names": list("abcdefgh")}, "`neuron_names` must be those of the wir"),
        (lambda e: {"synaptic_currents": e.states}, "`synaptic_currents` must have shape"),
        (lambda e: {"read_weights": e.states[:2]}, r"`read_weights` must have shape \(1, 8\)"),
        (lambda e: {"wiring": None}, "`synaptic_currents` must come with a wiring"),
        (lambda e: {"features": e.states}, r"`features` must have shape \(120, 4\)"),
        (lambda e: {"pictures": e.pictures / 255.0}, "`pictures` must be uint8 .* got float64"),
        (
            lambda e: {"pictures": e.pictures[..., 0]},
            "`pictures` must have shape .*height, width, 3",
        ),
        (lambda e: {"pictures": None}, "`maps` must come with pictures"),
        (lambda e: {"maps": {"a": 2.0 * e.maps["VisualBackProp"]}}, r"must lie in \[0, 1\]"),
    ],
)
def test_a_wrong_array_is_refused_in_one_sentence(make_episode, small_parts, make_changes, message):
    with pytest.raises(ValueError, match=message):
        make_episode(**make_changes(small_parts))


def test_a_single_frame_and_a_cell_without_anything_but_states_make_a_page(
    make_panel, dense_episode, tmp_path
):
    lone = lone_frame(make_panel)
    episodes = read_data(write_inspector(tmp_path / "page.html", [lone, dense_episode]))
    assert episodes["episodes"][0]["frames"] is None


def test_overlays_and_sensors_must_fit(make_episode):
    with pytest.raises(ValueError, match="`overlays` must be one of .*got 'human'"):
        make_episode(overlays={"human": "steering"})
    signals = {"human": np.zeros(120)}
    with pytest.raises(ValueError, match=r"`overlays\['human'\]` must be one of .*got 'human'"):
        make_episode(signals=signals, overlays={"human": "human"})
    make_episode(signals=signals, overlays={"human": "steering"})
    with pytest.raises(ValueError, match="`sensor_names` must be 4, one for each .* got 3"):
        make_episode(sensor_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="`sensor_names` must be 0"):
        make_episode(wiring=None, synaptic_currents=None, sensor_names=["a"])


def test_a_name_that_is_no_text_makes_a_page(make_episode, tmp_path):
    """A folder's name may hold any bytes; Python gives them as lone surrogates."""
    page = write_inspector(tmp_path / "page.html", [make_episode(name="b\udcff")], title="t\udcff")
    assert "<title>t?</title>" in page.read_text(encoding="utf-8")
    assert read_data(page)["episodes"][0]["name"] == "b\udcff"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def contrast(one, other):
    """WCAG 2.2: 4.5 for text, 3 for what must be made out."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_what_lies_behind_them(scheme):
    style = (Path(inspector.__file__).parent / "page" / "inspector.css").read_text()
    colours = dict(re.findall(r"--(\w+): (#\w{6})", style.split(":root")[1 + scheme].split("}")[0]))
    for behind in ("card", "page"):
        for text in ("ink", "muted", "overlay", "without"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
        lines = ("edge", "peer", "exciting", "inhibiting", "focus", "accent")
        for line in (*lines, *(name for name in colours if name.startswith("kept"))):
            assert contrast(colours[line], colours[behind]) >= 3.0, (line, behind)
    assert contrast(colours["ink"], colours["band"]) >= 4.5
