import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from ncp_control import NCP19, Synapse, Wiring, auto_ncp, fully_connected
from ncp_control.drawing import (
    ACTIVITY_MAP,
    EXCITATORY_COLOUR,
    INHIBITORY_COLOUR,
    draw_wiring,
    wiring_graph,
)


def parts(axes):
    """Curves to later layers, circles, and arcs."""
    curves, circles = sorted(
        (c for c in axes.collections if isinstance(c, PathCollection)),
        key=lambda collection: collection.get_zorder(),
    )
    return curves, circles, [p for p in axes.patches if isinstance(p, FancyArrowPatch)]


def numbers(axes):
    """Texts at the nodes, without the headings of the columns."""
    return [t.get_text() for t in axes.texts if t.get_zorder() == 4]


def test_graph_is_the_wiring():
    graph = wiring_graph(NCP19)
    assert [graph.nodes[node]["name"] for node in graph] == NCP19.node_names
    edges = {(s, t): data["sign"] for s, t, data in graph.edges(data=True)}
    assert edges == {(s, t): sign for s, t, sign in NCP19.synapses}


def test_every_node_and_synapse_is_drawn_once():
    axes = NCP19.draw()
    curves, circles, arcs = parts(axes)
    recurrent = NCP19.count_by_kind()["command → command"]
    assert len(circles.get_offsets()) == NCP19.num_nodes
    assert len(arcs) == recurrent
    assert len(curves.get_paths()) == NCP19.num_synapses - recurrent
    assert numbers(axes) == [name.split("_")[1] for name in NCP19.node_names]


def test_colours_are_the_signs():
    curves, _, arcs = parts(NCP19.draw())
    colours = [*map(to_hex, curves.get_edgecolors()), *(to_hex(a.get_edgecolor()) for a in arcs)]
    num_excitatory = int((NCP19.signs > 0).sum())
    assert colours.count(EXCITATORY_COLOUR.lower()) == num_excitatory
    assert colours.count(INHIBITORY_COLOUR.lower()) == NCP19.num_synapses - num_excitatory


def test_curves_join_the_nodes_of_their_synapse():
    wiring = Wiring(
        num_sensory=2,
        num_inter=1,
        num_command=0,
        num_motor=1,
        synapses=(Synapse(1, 2, 1), Synapse(2, 3, -1), Synapse(2, 2, 1), Synapse(3, 2, 1)),
    )
    curves, circles, arcs = parts(draw_wiring(wiring))
    places = np.asarray(circles.get_offsets())
    ends = [path.vertices[[0, -1]] for path in curves.get_paths()]
    np.testing.assert_allclose(ends, [places[[1, 2]], places[[2, 3]]])
    assert len(arcs) == 2, "a neuron's synapse onto itself, and one back to an earlier layer"


def test_fills_follow_the_activity():
    activity = np.linspace(-0.5, 1.0, 19)
    axes = draw_wiring(NCP19, activity=activity)
    fills = parts(axes)[1].get_facecolors()[32:]
    expected = matplotlib.colormaps[ACTIVITY_MAP]((activity + 1.0) / 2.0)
    np.testing.assert_allclose(fills, expected)
    assert axes.figure.axes[1].get_ylim() == (-1.0, 1.0)


def test_sensory_activity_has_a_scale_of_its_own():
    sensory = np.linspace(-30.0, 30.0, 32)
    axes = draw_wiring(NCP19, activity=np.zeros(19), sensory_activity=sensory)
    fills = parts(axes)[1].get_facecolors()
    ends = matplotlib.colormaps[ACTIVITY_MAP]([0.0, 1.0])
    np.testing.assert_allclose(fills[[0, 31]], ends)
    np.testing.assert_allclose(
        fills[32:], np.tile(matplotlib.colormaps[ACTIVITY_MAP](0.5), (19, 1))
    )


def test_widths_grow_with_strength():
    strength = np.arange(NCP19.num_synapses, dtype=float)
    curves, _, _ = parts(draw_wiring(NCP19, strength=strength))
    graph = wiring_graph(NCP19)
    forward = [data["index"] for s, t, data in graph.edges(data=True) if not (s >= 44 and t < 50)]
    assert len(forward) == len(curves.get_linewidths())
    assert (np.diff(np.asarray(curves.get_linewidths())[np.argsort(forward)]) > 0).all()


@pytest.mark.parametrize("wiring", [auto_ncp(48, 72, 4), fully_connected(4, 10, 2)])
def test_circles_of_a_column_never_touch(wiring):
    axes = draw_wiring(wiring)
    axes.figure.draw_without_rendering()
    _, circles, _ = parts(axes)
    places_pt = axes.transData.transform(circles.get_offsets()) * 72.0 / axes.figure.dpi
    diameters_pt = np.sqrt(circles.get_sizes())
    for nodes in wiring.layers.values():
        column = list(nodes)
        gaps_pt = -np.diff(places_pt[column, 1])
        assert (gaps_pt > diameters_pt[column][:-1]).all()


def test_draws_into_given_axes_and_leaves_no_figure_behind():
    axes = Figure().add_subplot()
    assert draw_wiring(NCP19, axes=axes) is axes
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_numbers_stay_readable_on_dark_fills():
    activity = np.zeros(19)
    activity[0] = -2.0
    axes = draw_wiring(NCP19, activity=activity)
    colours = [to_rgba(t.get_color()) for t in axes.texts if t.get_zorder() == 4]
    assert colours[32] == to_rgba("white")
    assert to_rgba("white") not in colours[33:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activity": np.zeros(18)}, r"`activity` must have shape \(19,\), got \(18,\)"),
        ({"activity": np.zeros((1, 19))}, r"`activity` must have shape \(19,\), got \(1, 19\)"),
        ({"sensory_activity": [0.0]}, r"`sensory_activity` must have shape \(32,\), got \(1,\)"),
        ({"strength": np.ones(3)}, r"`strength` must have shape \(252,\), got \(3,\)"),
        ({"strength": -np.ones(252)}, "`strength` must be >= 0, got -1.0"),
        ({"activity": np.full(19, np.nan)}, "`activity` must be finite, got nan"),
    ],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw_wiring(NCP19, **options)
