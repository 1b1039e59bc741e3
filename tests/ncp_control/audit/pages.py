"""Pages of small episodes for tests in a browser."""

import numpy as np

from ncp_control.audit.inspector import write_inspector

NASTY = "a</script><script>alert(1)</script><!-- `${x}` '\"\\ {{ data }} &amp; \u2028 : __proto__"


def nasty_episode(make_panel):
    """Every name that a user chooses, or a folder has, is hostile to HTML, JSON and JavaScript."""
    time_s = np.arange(30) / 30
    return make_panel(
        name=NASTY,
        time_s=time_s,
        neuron_names=[NASTY, "__proto__", "constructor"],
        states=np.stack([time_s, -time_s, 2.0 * time_s], axis=1),
        actions=time_s[:, None],
        action_names=[NASTY],
        signals={f"trace {NASTY}": time_s, "__proto__": time_s, "toString": -time_s},
        overlays={"__proto__": NASTY},
        facts={NASTY: NASTY},
        pictures=np.zeros((30, 8, 12, 3), np.uint8),
        maps={f"gradient: {NASTY}": np.zeros((30, 8, 12))},
    )


def lone_frame(make_panel):
    """One frame of a cell that has nothing but a state."""
    return make_panel(
        name="one frame",
        time_s=np.zeros(1),
        neuron_names=["unit_0"],
        states=np.zeros((1, 1)),
        actions=np.zeros((1, 1)),
        action_names=["torque"],
    )


def write_pages(folder, make_panel, make_episode, dense_episode):
    """Write one policy, two, one without pictures, one of a single frame, …"""
    time_s = np.arange(30) / 30
    bare = make_panel(
        name="robot",
        time_s=time_s,
        neuron_names=["unit_0", "unit_1"],
        states=np.stack([time_s, -time_s], axis=1),
        actions=time_s[:, None],
        action_names=["torque"],
    )
    lone = lone_frame(make_panel)
    one = [make_episode(maps={})]
    write_inspector(folder / "one.html", one)
    write_inspector(folder / "live.html", one, reload_s=600.0)
    write_inspector(folder / "maps.html", [make_episode()])
    write_inspector(folder / "two.html", [make_episode(maps={}), dense_episode])
    write_inspector(folder / "bare.html", [bare])
    human = np.sin(3.0 * np.arange(120) / 30)
    overlaid = make_episode(
        maps={},
        signals={"cross-track error [m]": human / 7, "human steering": human},
        overlays={"human steering": "steering"},
        sensor_names=[f"angle {i} [rad]" for i in range(4)],
    )
    write_inspector(folder / "overlaid.html", [overlaid])
    write_inspector(folder / "nasty.html", [nasty_episode(make_panel)], title=NASTY)
    write_inspector(folder / "lone.html", [lone])
