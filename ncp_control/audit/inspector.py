"""The inspector: an episode as a single HTML page that needs no server and no network.

The page shows the camera with saliency, the wiring coloured by its activity (or a heat map of units
for a cell without wiring), plots with certified bounds, signals and a map of the track. If it
contains the circuit's parameters, it can rerun the circuit without the neurons that the reader
silences. Its sources are in `page/`; they and the data are written to one file.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control import files
from ncp_control.audit.checks import check_shape
from ncp_control.audit.inspector_data import DETAILS, Detail, pack_floats, pack_images, pack_table
from ncp_control.episode import Episode
from ncp_control.names import check_name
from ncp_control.wiring import Wiring

MAX_BYTES = 15_000_000
"""Maximum size of a page [bytes]."""

# In order of their dependencies; the last one starts the page.
_SCRIPTS = (
    *("data", "circuit", "liquid", "program", "drawing", "tip", "axis", "plot", "camera"),
    *("readout", "wiring", "heatmap", "track", "neuron", "silencing", "about", "panel", "picture"),
    *("link", "player"),
)


@dataclass(frozen=True, kw_only=True)
class TrackMap:
    """Map of a closed track seen from above, with the driven path."""

    left_edge_m: np.ndarray
    """Left border of the lane (x, y) [m], shape (points, 2)."""
    right_edge_m: np.ndarray
    """Right border of the lane (x, y) [m], shape (points, 2)."""
    driven_m: np.ndarray
    """Position of the car at each frame (x, y) [m], shape (time, 2)."""

    def __post_init__(self) -> None:
        for name in ("left_edge_m", "right_edge_m", "driven_m"):
            check_shape(name, getattr(self, name), ("points", 2))


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Content of the page for one policy: an episode with recorded activity, and audit results.

    The page shows the pictures, signals and overlays of the episode, except signals of an absolute
    value, e.g. `|curvature| [1/m]`.

    Raises:
        ValueError: If a shape does not fit or a value is not finite.
    """

    episode: Episode
    """The episode, with its activity; its times must increase."""
    wiring: Wiring | None = None
    """Wiring of the circuit; None for a dense cell, whose units are shown as a heat map."""
    read_weights: np.ndarray | None = None
    """Weights with which each output reads the potential of each neuron, shape (outputs, neurons);
    None if each output reads only its motor neuron."""
    state_bounds: np.ndarray | None = None
    """Certified lowest and highest value of each state, shape (neurons, 2)."""
    timescale_bounds_s: np.ndarray | None = None
    """Certified shortest and longest τ [s], shape (neurons, 2)."""
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Saliency maps by method, in [0, 1] or uint8 from 0 to 255, shape (time, height, width). A
    name that ends in `: <neuron>`, e.g. `gradient: command_0`, is a map of that neuron."""
    track: TrackMap | None = None
    """Map of the track, if there is one."""
    choice_names: Sequence[Sequence[str]] = ()
    """Names of the choices of each action; empty if actions are numbers."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Short facts for the heading, e.g. `{"neurons": "19"}`."""
    rerun: Mapping[str, Any] | None = None
    """Data with which the page reruns the circuit, see `ncp_control.audit.rerun`; if None: neurons
    cannot be silenced."""
    why_no_rerun: str = ""
    """Reason that the page shows if `rerun` is None."""

    @property
    def neuron_names(self) -> Sequence[str]:
        """Name of each entry of the state."""
        return self.episode.recorded_activity.neuron_names

    @property
    def states(self) -> np.ndarray:
        """State after each frame, shape (time, neurons)."""
        return self.episode.recorded_activity.states[0].cpu().numpy()

    @property
    def timescales_s(self) -> np.ndarray | None:
        """Time constants τ [s], shape (time, neurons); None if the cell has none."""
        taus_s = self.episode.recorded_activity.timescales_s
        return None if taus_s is None else taus_s[0].cpu().numpy()

    @property
    def synaptic_currents(self) -> np.ndarray | None:
        """Current through each synapse, in the order of the wiring, shape (time, synapses)."""
        currents = self.episode.recorded_activity.synaptic_currents
        return None if currents is None else currents[0].cpu().numpy()

    @property
    def signals(self) -> dict[str, np.ndarray]:
        """Signals that get their own plot, by name and unit, shape (time,)."""
        actions = set(self.episode.action_names)
        signals = self.episode.signals.items()
        return {k: v for k, v in signals if k not in actions and not k.startswith("|")}

    def __post_init__(self) -> None:
        episode, taus_s = self.episode, self.timescales_s
        time, neurons = len(episode.time_s), len(self.neuron_names)
        check_shape("time_s", episode.time_s, ("time",))
        if time < 1 or (np.diff(episode.time_s) <= 0).any():
            raise ValueError(
                f"`time_s` must be one or more increasing times, got {episode.time_s.tolist()[:8]}."
                " Check the order of the frames."
            )
        check_shape("states", self.states, (time, neurons))
        check_shape("actions", episode.actions, (time, len(episode.action_names)))
        check_shape("timescales_s", taus_s, (time, neurons))
        for name in ("state_bounds", "timescale_bounds_s"):
            check_shape(name, getattr(self, name), (neurons, 2))
        if taus_s is not None and taus_s.min(initial=1.0) <= 0:
            raise ValueError(
                f"`timescales_s` must be > 0, got {float(taus_s.min())}."
                " Time constants are in seconds."
            )
        for name, signal in self.signals.items():
            check_shape(f"signals[{name!r}]", signal, (time,))
        self._check_overlays()
        self._check_wiring(time)
        self._check_pictures(time)

    def _check_overlays(self) -> None:
        signals, overlays = self.signals, self.episode.overlays
        hosts = {*self.episode.action_names, *signals} - set(overlays)
        for name, host in overlays.items():
            check_name("overlays", name, signals)
            check_name(f"overlays[{name!r}]", host, hosts)

    def _check_wiring(self, time: int) -> None:
        wiring, sensors = self.wiring, self.episode.sensor_names
        if sensors is not None:
            count = 0 if wiring is None else wiring.num_sensory
            if len(sensors) != count:
                raise ValueError(
                    f"`sensor_names` must be {count}, one for each sensory input of the wiring,"
                    f" got {len(sensors)}. Leave them out if they are not known."
                )
        if wiring is None:
            if self.synaptic_currents is not None:
                raise ValueError(
                    "`synaptic_currents` must come with a wiring, got none. Pass `wiring` too."
                )
            return
        if list(self.neuron_names) != wiring.neuron_names:
            raise ValueError(
                f"`neuron_names` must be those of the wiring, got {list(self.neuron_names)[:3]}…"
                " Pass wiring.neuron_names."
            )
        check_shape("synaptic_currents", self.synaptic_currents, (time, wiring.num_synapses))
        check_shape("read_weights", self.read_weights, (wiring.num_motor, wiring.num_neurons))
        check_shape("features", self.episode.features, (time, wiring.num_sensory))

    def _check_pictures(self, time: int) -> None:
        pictures = self.episode.pictures
        if pictures is not None:
            check_shape("pictures", pictures, (time, "height", "width", 3))
            if pictures.dtype != np.uint8:
                raise ValueError(
                    f"`pictures` must be uint8 from 0 to 255, got {pictures.dtype}."
                    " Convert the pictures."
                )
        elif self.maps:
            raise ValueError(
                f"`maps` must come with pictures, got {sorted(self.maps)} alone. Pass them too."
            )
        for name, values in self.maps.items():
            check_shape(f"maps[{name!r}]", values, (time, "height", "width"))
            is_share = values.dtype == np.uint8 or 0.0 <= values.min() <= values.max() <= 1.0
            if not is_share:
                raise ValueError(
                    f"`maps[{name!r}]` must lie in [0, 1], got {float(values.min())} to"
                    f" {float(values.max())}. Scale the map."
                )
        if self.track is not None:
            check_shape("track.driven_m", self.track.driven_m, (time, 2))


def write_inspector(
    path: Path | str,
    panels: Sequence[Panel],
    *,
    title: str = "Inspector",
    reload_s: float | None = None,
) -> Path:
    """Write the page of an episode, or of two policies side by side.

    Images are stored at the highest level of detail with which the page is below `MAX_BYTES`.

    Args:
        path: The HTML file; written atomically.
        panels: One panel, or two to compare; frames are matched by their times.
        title: Heading of the page.
        reload_s: Interval at which the page reloads itself and shows the last frame [s], for an
            episode that is still running; None for a finished one.

    Returns:
        Path of the file.

    Raises:
        ValueError: If there are not one or two panels, or they are too large at the lowest detail.
    """
    if len(panels) not in (1, 2):
        raise ValueError(f"`panels` must be one, or two to compare, got {len(panels)}. Pick two.")
    size = 0
    for detail in DETAILS:
        data = {
            "title": title,
            "reload_s": reload_s,
            "episodes": [_panel_data(panel, detail) for panel in panels],
        }
        # Names of folders may contain bytes that are not valid UTF-8.
        page = _page(title, data).encode(errors="replace")
        size = len(page)
        if size < MAX_BYTES:
            files.write_file(path, page)
            return Path(path)
    raise ValueError(
        f"`panels` must fit into {MAX_BYTES / 1e6:.0f} MB, got {size / 1e6:.0f} MB."
        " Show fewer seconds or fewer saliency maps."
    )


def _panel_data(panel: Panel, detail: Detail) -> dict[str, Any]:
    """Return a panel as JSON values."""
    episode, wiring, track = panel.episode, panel.wiring, panel.track
    tables = {
        "states": panel.states,
        "actions": episode.actions,
        "timescales_s": panel.timescales_s,
        "synaptic_currents": panel.synaptic_currents,
        "features": None if wiring is None else episode.features,
    }
    packed = {name: pack_table(values) for name, values in tables.items()}
    return packed | {
        "name": episode.name,
        "facts": dict(panel.facts),
        "time_s": np.round(episode.time_s, 5).tolist(),
        "neuron_names": list(panel.neuron_names),
        "action_names": list(episode.action_names),
        "choice_names": [list(names) for names in panel.choice_names],
        "sensory_names": episode.sensor_names and list(episode.sensor_names),
        "overlays": dict(episode.overlays),
        "state_bounds": _numbers(panel.state_bounds),
        "timescale_bounds_s": _numbers(panel.timescale_bounds_s),
        "traces": {name: pack_table(signal[:, None]) for name, signal in panel.signals.items()},
        "wiring": wiring and wiring.to_dict(),
        "read_weights": None if panel.read_weights is None else pack_floats(panel.read_weights),
        "rerun": panel.rerun and dict(panel.rerun),
        "why_no_rerun": panel.why_no_rerun,
        "sees_pictures": episode.has_frames,
        "track": track and {name: _numbers(values) for name, values in vars(track).items()},
        "frames": pack_images(episode.pictures, detail.frame_height_px, detail.frame_quality, 1),
        "maps": {
            name: pack_images(values, detail.map_height_px, detail.map_quality, detail.map_stride)
            for name, values in panel.maps.items()
        },
    }


def _numbers(values: np.ndarray | None) -> list[Any] | None:
    """Return nested lists of numbers, rounded to five significant digits."""
    if values is None:
        return None
    return [[float(f"{value:.5g}") for value in row] for row in values]


def _page(title: str, data: dict[str, Any]) -> str:
    """Return the HTML page with sources and data."""
    folder = resources.files("ncp_control.audit") / "page"
    scripts = [(folder / f"{name}.js").read_text() for name in _SCRIPTS]
    parts = {
        "title": html.escape(title),
        "style": (folder / "inspector.css").read_text(),
        # Escape "<", so that the data cannot end the script element or open a comment in it.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "script": "\n".join(scripts),
    }
    # In a single pass, so that placeholders within the parts are not replaced.
    return re.sub(
        r"{{ (\w+) }}",
        lambda place: parts[place[1]],
        (folder / "inspector.html").read_text(),
    )
