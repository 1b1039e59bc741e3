"""`Wiring`: the signed connections between the neurons of a neural circuit policy.

Signals run through four layers, sensory → inter → command (recurrent) → motor. A wiring is a
frozen list of synapses; nodes are numbered in the order of the layers, sensory inputs first.
`wiring_rules.py` has the rules that draw wirings.

Source: Lechner et al. 2020, Nature Machine Intelligence 2:642.
"""

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ncp_control.ranges import check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYER_NAMES = ("sensory", "inter", "command", "motor")

MAX_NODES = 10_000
"""Maximum number of sensory inputs and neurons together; more is taken for a damaged setting."""
MAX_SYNAPSES = 2_000_000
"""Maximum number of synapses, as in 1,400 fully connected neurons; they take about 0.7 GB."""


class Synapse(NamedTuple):
    """Directed connection between two nodes of a wiring."""

    source: int
    """Node that sends the signal: a sensory input or a neuron."""
    target: int
    """Neuron that receives the signal (never a sensory input)."""
    sign: int
    """+1 excites (pulls towards a positive reversal potential), -1 inhibits."""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Frozen list of synapses between four layers of nodes.

    Nodes are numbered sensory, inter, command, motor; a *neuron* is any node that is not sensory.
    Synapses are sorted: those from sensory inputs first, then by target and source. So two wirings
    with the same connections are equal, in whatever order their synapses were listed.

    Raises:
        TypeError: If a synapse is not three whole numbers.
        ValueError: If a size is too small, there are more than `MAX_NODES` nodes or `MAX_SYNAPSES`
            synapses, or a synapse is not possible or repeated.
    """

    num_sensory: int
    num_inter: int
    num_command: int
    num_motor: int
    synapses: tuple[Synapse, ...] = field(repr=False)  # hundreds of them

    def __post_init__(self) -> None:
        for name, least in zip(LAYER_NAMES, (1, 0, 0, 1), strict=True):
            size = check_count(f"num_{name}", getattr(self, f"num_{name}"), least)
            object.__setattr__(self, f"num_{name}", size)
        check_sizes(self.num_nodes, 0)
        try:
            # One synapse beyond the limit suffices to detect that there are too many.
            listed = islice(self.synapses, MAX_SYNAPSES + 1)
            synapses = [Synapse(*map(operator.index, synapse)) for synapse in listed]
        except TypeError as error:
            raise TypeError(
                f"`synapses` must hold three whole numbers each, got {error}."
                " Give source, target and sign."
            ) from error
        check_sizes(self.num_nodes, len(synapses))
        for synapse in synapses:
            self._check_synapse(synapse)
        repeated = [pair for pair, n in Counter(s[:2] for s in synapses).items() if n > 1]
        if repeated:
            raise ValueError(
                f"`synapses` must connect each pair of nodes once, got {repeated[0]} more than"
                " once. Merge the repeated synapses."
            )
        synapses.sort(key=lambda s: (s.source >= self.num_sensory, s.target, s.source))
        object.__setattr__(self, "synapses", tuple(synapses))

    def _check_synapse(self, synapse: Synapse) -> None:
        is_valid = (
            0 <= synapse.source < self.num_nodes
            and self.num_sensory <= synapse.target < self.num_nodes
            and synapse.sign in (-1, 1)
        )
        if not is_valid:
            raise ValueError(
                f"`synapses` must run from a node below {self.num_nodes} to a neuron from"
                f" {self.num_sensory} to {self.num_nodes - 1} with sign -1 or +1, got {synapse}."
                " Correct its indices."
            )

    @property
    def num_neurons(self) -> int:
        """Number of inter, command and motor neurons: the size of the circuit's state."""
        return self.num_inter + self.num_command + self.num_motor

    @property
    def num_nodes(self) -> int:
        """Number of sensory inputs and neurons together."""
        return self.num_sensory + self.num_neurons

    @property
    def num_synapses(self) -> int:
        """Number of all synapses, including those from sensory inputs."""
        return len(self.synapses)

    @cached_property
    def num_sensory_synapses(self) -> int:
        """Number of synapses from sensory inputs; they come first in `synapses`."""
        return sum(synapse.source < self.num_sensory for synapse in self.synapses)

    @cached_property
    def sources(self) -> np.ndarray:
        """Source node of every synapse, shape (synapses,), int64, read-only."""
        return self._column("source")

    @cached_property
    def targets(self) -> np.ndarray:
        """Target node of every synapse, shape (synapses,), int64, read-only."""
        return self._column("target")

    @cached_property
    def signs(self) -> np.ndarray:
        """Sign of every synapse, shape (synapses,), int64, read-only."""
        return self._column("sign")

    def _column(self, name: str) -> np.ndarray:
        values = [getattr(synapse, name) for synapse in self.synapses]
        column = np.array(values, dtype=np.int64)
        column.setflags(write=False)  # the cached array is shared by all callers
        return column

    @property
    def layers(self) -> dict[str, range]:
        """Range of nodes of each layer, by name, in node order."""
        layers, first = {}, 0
        for name in LAYER_NAMES:
            size = getattr(self, f"num_{name}")
            layers[name] = range(first, first + size)
            first += size
        return layers

    @property
    def node_names(self) -> list[str]:
        """`sensory_0`, …, `inter_3`, …, `command_0`, …, `motor_0`, in node order."""
        return [f"{name}_{i}" for name, nodes in self.layers.items() for i in range(len(nodes))]

    @property
    def neuron_names(self) -> list[str]:
        """Names of the neurons alone, in the order of the circuit's state."""
        return self.node_names[self.num_sensory :]

    def count_by_kind(self) -> dict[str, int]:
        """Count the synapses between each pair of layers, e.g. `{"sensory → inter": 192, …}`."""
        layer_of = [name for name, nodes in self.layers.items() for _ in nodes]
        kinds = Counter((layer_of[s.source], layer_of[s.target]) for s in self.synapses)
        order = sorted(kinds, key=lambda kind: tuple(map(LAYER_NAMES.index, kind)))
        return {f"{source} → {target}": kinds[source, target] for source, target in order}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_dict` rebuilds an equal wiring."""
        sizes = {f"num_{name}": getattr(self, f"num_{name}") for name in LAYER_NAMES}
        return sizes | {"synapses": [list(synapse) for synapse in self.synapses]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Wiring":
        """Rebuild a wiring written by `to_dict`.

        Raises:
            ValueError: If a key is missing or unknown, or the wiring is not valid.
        """
        expected = {f"num_{name}" for name in LAYER_NAMES} | {"synapses"}
        if not isinstance(values, Mapping) or set(values) != expected:
            got = sorted(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(
                f"a wiring must have the keys {sorted(expected)}, got {got}."
                " Write it with Wiring.to_dict."
            )
        try:
            synapses = tuple(Synapse(*synapse) for synapse in values["synapses"])
        except TypeError as error:
            raise ValueError(
                f"`synapses` must be lists of source, target and sign, got {error}."
                " Write them with Wiring.to_dict."
            ) from error
        return cls(**{**values, "synapses": synapses})

    def draw(self, **options: Any) -> "Axes":
        """Draw the layers as columns and the signs as colours; options as in `drawing.draw_wiring`.

        Raises:
            ModuleNotFoundError: If matplotlib or networkx is not installed.
        """
        try:  # imported only when a picture is drawn
            from ncp_control.drawing import draw_wiring
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error.name} is missing, which draws wirings. Run `pip install"
                " ncp-control[plot]`."
            ) from error

        return draw_wiring(self, **options)

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(nodes)} {name}" for name, nodes in self.layers.items() if nodes)
        kinds = "\n".join(f"  {kind:<20} {n:>6}" for kind, n in self.count_by_kind().items())
        return f"Wiring: {sizes}; {self.num_synapses} synapses\n{kinds}"


def check_sizes(num_nodes: int, num_synapses: int) -> None:
    """Raise ValueError if a wiring would have too many nodes or synapses."""
    for name, value, most in (
        ("nodes", num_nodes, MAX_NODES),
        ("synapses", num_synapses, MAX_SYNAPSES),
    ):
        if value > most:
            raise ValueError(
                f"a wiring must have at most {most} {name}, got at least {value}."
                " Choose smaller layers or fewer synapses."
            )


def check_wiring(wiring: object) -> None:
    """Raise TypeError unless `wiring` is a Wiring."""
    if not isinstance(wiring, Wiring):
        raise TypeError(
            f"`wiring` must be a Wiring, got {wiring!r}. Draw one, e.g. fully_connected(8, 16, 2)."
        )
