"""Draw a wiring: layers as columns, signs of synapses as colours.

Signals run from left to right. Synapses within a layer, mainly the recurrent ones of the command
layer, are arcs with arrow heads: upward arcs bend to the right, downward arcs to the left. The
colours are blue and vermilion of Okabe & Ito 2008, "Color Universal Design", and a purple to green
map, so that no two meanings differ in red and green alone.
"""

from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from ncp_control.wiring import Wiring

EXCITATORY_COLOUR = "#0072B2"
INHIBITORY_COLOUR = "#D55E00"
ACTIVITY_MAP = "PRGn"
_SIGN_COLOURS = {1: EXCITATORY_COLOUR, -1: INHIBITORY_COLOUR}
_INK = "#222222"
_POINTS_PER_INCH = 72.0
_BEZIER = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
_LAYER_COLOURS = {
    "sensory": "#ECECEC",
    "inter": "#F3E3B3",
    "command": "#F6CFC0",
    "motor": "#CFE5F2",
}


def wiring_graph(wiring: Wiring) -> nx.DiGraph:
    """Return the graph of a wiring.

    Nodes have the attributes `name` and `layer`, edges `sign` and `index` (of the synapse).
    """
    graph = nx.DiGraph()
    names = wiring.node_names
    for layer, nodes in wiring.layers.items():
        graph.add_nodes_from((node, {"name": names[node], "layer": layer}) for node in nodes)
    for index, (source, target, sign) in enumerate(wiring.synapses):
        graph.add_edge(source, target, sign=sign, index=index)
    return graph


def draw_wiring(
    wiring: Wiring,
    *,
    activity: Any = None,
    sensory_activity: Any = None,
    strength: Any = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the layers of a wiring as columns and the signs as colours.

    Args:
        wiring: The wiring.
        activity: Fill of the neurons: one value per neuron, shape (neurons,), e.g. membrane
            potentials; shown with a diverging colour map and a colour bar.
        sensory_activity: Fill of the sensory inputs: one value per input, shape (sensory,).
        strength: Line widths: one value >= 0 per synapse, shape (synapses,), e.g. its weight.
        axes: Axes to draw on; if None: those of a new figure.

    Returns:
        The axes; `axes.figure.savefig(path)` writes the picture.

    Raises:
        ValueError: If an array has the wrong length, is not finite, or a strength is negative.
    """
    activity = _check_values("activity", activity, wiring.num_neurons, "neuron")
    sensory_activity = _check_values(
        "sensory_activity", sensory_activity, wiring.num_sensory, "sensory input"
    )
    strength = _check_values("strength", strength, wiring.num_synapses, "synapse")
    if strength is not None and strength.min(initial=0.0) < 0.0:
        raise ValueError(
            f"`strength` must be >= 0, got {float(strength.min())}. Colours show the signs."
        )
    axes = _new_axes(wiring) if axes is None else axes
    _draw_frame(axes, wiring)
    for values, label in ((activity, "membrane potential"), (sensory_activity, "sensory input")):
        if values is not None:
            _draw_scale(axes, values, label)
    graph, layout = wiring_graph(wiring), _layout(wiring, axes)
    _draw_synapses(axes, graph, layout, strength)
    _draw_nodes(axes, graph, layout, _fills(wiring, activity, sensory_activity))
    return axes


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Positions of the nodes: x in columns, y as a share of the height of the axes."""

    positions: dict[int, tuple[float, float]]
    diameters_pt: np.ndarray
    unit_pt: tuple[float, float]
    """Points per unit of x and of y."""


def _new_axes(wiring: Wiring) -> Axes:
    """Return the axes of a new figure, tall enough for the largest layer, without pyplot."""
    largest = max(len(nodes) for nodes in wiring.layers.values())
    figure = Figure(figsize=(11.0, min(max(0.25 * largest, 6.0), 20.0)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)  # type: ignore[union-attr]
    return figure.add_subplot()


def _columns(wiring: Wiring) -> dict[str, range]:
    """Return the layers that have nodes; each becomes a column."""
    return {name: nodes for name, nodes in wiring.layers.items() if nodes}


def _draw_frame(axes: Axes, wiring: Wiring) -> None:
    """Set up the axes: a heading above each column, the legend below them."""
    columns = _columns(wiring)
    axes.set(xlim=(-0.2, len(columns) - 0.75), ylim=(0.0, 1.0))
    axes.set_axis_off()
    for column, (name, nodes) in enumerate(columns.items()):
        _write(axes, name, (column, 1.0), (0.0, 24.0), color=_INK, size=13, weight="bold")
        _write(axes, str(len(nodes)), (column, 1.0), (0.0, 8.0), color="#666666", size=10)
    colours = {"excitatory": EXCITATORY_COLOUR, "inhibitory": INHIBITORY_COLOUR}
    axes.legend(
        handles=[Line2D([], [], color=c, linewidth=2, label=name) for name, c in colours.items()],
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=2,
        frameon=False,
    )


def _write(
    axes: Axes, text: str, at: tuple[float, float], offset_pt: tuple[float, float], **style: Any
) -> None:
    """Write centred text at an offset from a point."""
    centred: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points"}
    axes.annotate(text, at, xytext=offset_pt, annotation_clip=False, **(centred | style))


def _draw_scale(axes: Axes, values: np.ndarray, label: str) -> None:
    """Add the colour bar of some values."""
    scale = ScalarMappable(_symmetric(values), ACTIVITY_MAP)
    bar = axes.figure.colorbar(scale, ax=axes, shrink=0.4, aspect=16, pad=0.03)
    bar.ax.set_title(label.replace(" ", "\n"), size=9, pad=8.0)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def _layout(wiring: Wiring, axes: Axes) -> _Layout:
    """Place the nodes: one column per layer, evenly spaced, as large as the gaps allow."""
    # Circles are sized in points, and the axes have their final size only after a layout.
    axes.figure.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    box, points_per_pixel = axes.get_window_extent(), _POINTS_PER_INCH / axes.figure.dpi
    width, height_pt = float(np.diff(axes.get_xlim())[0]), box.height * points_per_pixel
    positions, diameters_pt = {}, []
    for column, (name, nodes) in enumerate(_columns(wiring).items()):
        gap = 1.0 / (len(nodes) + 1)
        for i, node in enumerate(nodes):
            positions[node] = (float(column), 1.0 - (i + 1) * gap)
            diameters_pt.append(min(0.78 * gap * height_pt, 13.0 if name == "sensory" else 30.0))
    return _Layout(
        positions=positions,
        diameters_pt=np.array(diameters_pt),
        unit_pt=(box.width * points_per_pixel / width, height_pt),
    )


def _draw_synapses(
    axes: Axes, graph: nx.DiGraph, layout: _Layout, strength: np.ndarray | None
) -> None:
    """Draw synapses to a later layer as curves, all others as arcs with arrow heads."""
    curves, colours, widths = [], [], []
    for source, target, synapse in graph.edges(data=True):
        is_sensory = graph.nodes[source]["layer"] == "sensory"
        opacity, width = _stroke(graph, synapse["index"], strength, is_sensory)
        colour = to_rgba(_SIGN_COLOURS[synapse["sign"]], alpha=opacity)
        if layout.positions[target][0] > layout.positions[source][0]:
            curves.append(_curve(layout.positions[source], layout.positions[target]))
            colours.append(colour)
            widths.append(width)
        else:
            axes.add_patch(_arc(source, target, layout, colour, width)).set_in_layout(False)
    axes.add_collection(
        PathCollection(curves, facecolors="none", edgecolors=colours, linewidths=widths, zorder=1)
    )


def _stroke(
    graph: nx.DiGraph, index: int, strength: np.ndarray | None, is_sensory: bool
) -> tuple[float, float]:
    """Return opacity and line width [pt] of a synapse; lines are fainter in a dense graph."""
    if strength is not None:
        share = float(strength[index] / max(strength.max(), 1e-12))
        return 0.12 + 0.83 * share, 0.4 + 3.6 * share
    crowding = min(1.0, (300.0 / graph.number_of_edges()) ** 0.5)
    width = 1.3 * max(crowding, 0.5)
    return (0.45 * crowding, 0.6 * width) if is_sensory else (0.85 * crowding, width)


def _curve(start: tuple[float, float], end: tuple[float, float]) -> Path:
    """Return a curve that starts and ends horizontally."""
    (x0, y0), (x1, y1) = start, end
    bend = 0.45 * (x1 - x0)
    return Path([(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], _BEZIER)


def _arc(
    source: int, target: int, layout: _Layout, colour: tuple[float, ...], width: float
) -> FancyArrowPatch:
    """Return an arrow within a layer, to an earlier layer, or from a neuron to itself."""
    look = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "zorder": 1.5}
    if source == target:
        return FancyArrowPatch(path=_loop(source, layout), mutation_scale=9.0, **look)
    return FancyArrowPatch(
        layout.positions[source],
        layout.positions[target],
        connectionstyle="arc3,rad=0.45",
        mutation_scale=10.0,
        shrinkA=layout.diameters_pt[source] / 2,
        shrinkB=layout.diameters_pt[target] / 2 + 1.0,
        **look,
    )


def _loop(node: int, layout: _Layout) -> Path:
    """Return a drop-shaped path that leaves a node to the right and returns to it."""
    radius_pt = layout.diameters_pt[node] / 2
    offsets_pt = radius_pt * np.array([[0.85, 0.53], [2.5, 2.1], [2.5, -2.1], [0.93, -0.58]])
    points = np.array(layout.positions[node]) + offsets_pt / layout.unit_pt
    return Path(points, _BEZIER)


def _draw_nodes(axes: Axes, graph: nx.DiGraph, layout: _Layout, fills: np.ndarray) -> None:
    """Draw circles with each node's number in its layer: inside, or left of a small sensory one."""
    drawn = nx.draw_networkx_nodes(
        graph,
        layout.positions,
        node_size=layout.diameters_pt**2,  # type: ignore[arg-type]
        node_color=fills,  # type: ignore[arg-type]
        edgecolors=_INK,
        linewidths=np.minimum(layout.diameters_pt / 12.0, 1.0),  # type: ignore[arg-type]
        ax=axes,
    )
    drawn.set_zorder(3)
    for node, fill in zip(graph, fills, strict=True):
        layer, _, number = graph.nodes[node]["name"].partition("_")
        diameter_pt, is_outside = float(layout.diameters_pt[node]), layer == "sensory"
        is_dark = not is_outside and float(fill[:3] @ (0.299, 0.587, 0.114)) < 0.5
        _write(
            axes,
            number,
            layout.positions[node],
            (-0.5 * diameter_pt - 3.0 if is_outside else 0.0, -0.3),
            ha="right" if is_outside else "center",
            va="center_baseline",
            size=max(min(0.62 * diameter_pt, 11.0) if is_outside else 0.42 * diameter_pt, 4.0),
            color="white" if is_dark else _INK,
            zorder=4,
        )


def _fills(
    wiring: Wiring, activity: np.ndarray | None, sensory_activity: np.ndarray | None
) -> np.ndarray:
    """Return the RGBA colour of every node, shape (nodes, 4): by activity if given, or by layer."""
    layers = [name for name, nodes in wiring.layers.items() for _ in nodes]
    fills = np.array([to_rgba(_LAYER_COLOURS[name]) for name in layers])
    colours = colormaps[ACTIVITY_MAP]
    if sensory_activity is not None:
        fills[: wiring.num_sensory] = colours(_symmetric(sensory_activity)(sensory_activity))
    if activity is not None:
        fills[wiring.num_sensory :] = colours(_symmetric(activity)(activity))
    return fills


def _symmetric(values: np.ndarray) -> Normalize:
    """Return a colour scale with zero in the middle."""
    largest = max(float(np.abs(values).max()), 1e-6)
    return Normalize(-largest, largest)


def _check_values(name: str, values: Any, count: int, what: str) -> np.ndarray | None:
    """Check that there are `count` finite values, and return them as floats."""
    if values is None:
        return None
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(
            f"`{name}` must have shape ({count},), got {array.shape}. Give one value per {what}."
        )
    if not np.isfinite(array).all():
        first = float(array[~np.isfinite(array)][0])
        raise ValueError(f"`{name}` must be finite, got {first!r}. Check the recorded values.")
    return array
