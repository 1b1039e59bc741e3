"""Reproduce a table or figure of the papers, or one of our own.

    python scripts/reproduce.py TABLE

    halfcheetah --data PATH       forecasts of HalfCheetah traces (LTC paper)
    halfcheetah-best --data PATH  the same test windows, any training method
    walker2d --data PATH          forecasts with frames missing (CfC paper)
    gesture --data PATH           small UCI data sets (LTC paper); likewise
    occupancy, traffic, ozone, har, person, power
    physionet --data PATH         deaths in intensive care (CfC paper)
    imdb --data PATH              film reviews, good or bad (CfC paper)
    xor                           parity of bit streams (CfC paper)
    mnist --data PATH             digits as events (CfC paper)
    digits                        the same with small digits, without download
    smnist --data PATH            digits row by row (LTC paper)
    wiring --data PATH            NCP against random and dense wiring
    integrators --data PATH       both integrators of an NCP
    reinforcement                 walking by PPO, circuits against LSTM and MLP
    expressivity                  trajectory length, figure 3 of the LTC paper
    memory                        holding a bit, estimating velocities, by initial values
    conditions                    driving in noise, fog, blackouts and fifteen other conditions
    road                          the same on a road with bends, traffic and people
    newton                        sequences solved in parallel over time

Each training run adds a row to the table, in a new run folder. To resume a table that was stopped,
give that folder with --results; --results results adds to the published table. `TABLE --show`
prints the published table and the sources of its rows, and trains nothing.
"""

import dataclasses

from ncp_control.command_line import find, run_job, use_threads
from ncp_control.names import check_name
from scripts.reproduction.completion import Reproduce
from scripts.unused_settings import refuse_changed

_ROOM = "scripts.reproduction"
UCI = ("gesture", "occupancy", "traffic", "ozone", "har", "person", "power")
TABLES = {
    "halfcheetah": f"{_ROOM}.halfcheetah:reproduce_halfcheetah",
    "halfcheetah-best": f"{_ROOM}.halfcheetah_best:reproduce_halfcheetah_best",
    "walker2d": f"{_ROOM}.walker2d:reproduce_walker2d",
    **dict.fromkeys(UCI, f"{_ROOM}.uci:reproduce_uci"),
    "physionet": f"{_ROOM}.physionet:reproduce_physionet",
    "imdb": f"{_ROOM}.imdb:reproduce_imdb",
    "xor": f"{_ROOM}.xor:reproduce_xor",
    **dict.fromkeys(("mnist", "digits", "smnist"), f"{_ROOM}.digits:reproduce_digits"),
    "wiring": f"{_ROOM}.ablation:reproduce_wiring",
    "integrators": f"{_ROOM}.ablation:reproduce_integrators",
    "reinforcement": f"{_ROOM}.reinforcement:reproduce_reinforcement",
    "expressivity": f"{_ROOM}.expressivity:reproduce_expressivity",
    "memory": f"{_ROOM}.memory:reproduce_memory",
    "conditions": f"{_ROOM}.conditions:reproduce_conditions",
    "road": f"{_ROOM}.road:reproduce_road",
    "newton": f"{_ROOM}.newton:reproduce_newton",
}
"""Function that makes each table, as module:name."""

ON_TRACES = ("halfcheetah", "halfcheetah-best", "walker2d", "wiring", "integrators")
ON_DATA = (*ON_TRACES, *UCI, "physionet", "imdb", "mnist", "smnist")
USES = {
    "data": ON_DATA,
    "tasks": (
        "xor",
        *UCI,
        "wiring",
        "integrators",
        "reinforcement",
        "memory",
        "conditions",
        "road",
    ),
    "trainings": ("conditions", "road"),
    "steps": ("reinforcement",),
    "epochs": (*ON_DATA, "xor", "digits", "conditions", "road"),
    "episodes": ("road",),
    "km": ("conditions", "road"),
    "wipe_every": ("conditions", "road"),
    "full": ("road",),
    "device": (*ON_DATA, "xor", "digits"),
}
"""Tables that use each setting. With other tables the setting is refused."""


def reproduce(settings: Reproduce) -> None:
    """Make the table that the settings name, or show it."""
    check_name("table", settings.table, TABLES)
    if settings.show:
        names = {field.name for field in dataclasses.fields(settings)}
        names -= {"table", "show", "results"}
        refuse_changed(settings, names, "with --show", "Nothing is trained.")
        find(f"{_ROOM}.showing:show")(settings.table, settings.results)
        return
    for name, tables in USES.items():
        if settings.table not in tables:
            why = f"It is of use to {', '.join(tables)}."
            refuse_changed(settings, (name,), f"with {settings.table}", why)
    use_threads(None)
    find(TABLES[settings.table])(settings)


if __name__ == "__main__":
    run_job(reproduce, Reproduce, __doc__)
