"""Who is connected to whom, and with which sign: the wiring of a neural circuit policy.

Signals run through four layers, sensory → inter → command (recurrent) → motor. A wiring is a
frozen list of synapses; neurons are numbered in that layer order, sensory inputs first.

Source: Lechner et al. 2020, "Neural circuit policies enabling auditable autonomy", Nature Machine
Intelligence 2:642 (design rules of section "Designing NCP networks"). Differs: recurrent command
synapses are drawn without repetition, so that the number asked for is the number there is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYER_NAMES = ("sensory", "inter", "command", "motor")


class Synapse(NamedTuple):
    """One directed connection between two nodes of a wiring."""

    source: int
    """Node that the signal comes from: a sensory input or a neuron."""
    target: int
    """Neuron that receives it (never a sensory input)."""
    sign: int
    """+1 excites (pulls towards a positive reversal potential), -1 inhibits."""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """A frozen list of synapses over four layers of nodes.

    Nodes are numbered sensory, inter, command, motor; a *neuron* is any node that is not sensory.
    Synapses are kept sensory ones first, then by target and source, so two wirings with the same
    connections are equal whatever order they were listed in.
    """

    num_sensory: int
    num_inter: int
    num_command: int
    num_motor: int
    synapses: tuple[Synapse, ...]

    def __post_init__(self) -> None:
        for name, least in zip(LAYER_NAMES, (1, 0, 0, 1), strict=True):
            _check_count(f"num_{name}", getattr(self, f"num_{name}"), least)
        synapses = [Synapse(*map(int, synapse)) for synapse in self.synapses]
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
        """Inter, command and motor neurons: the size of the circuit's state."""
        return self.num_inter + self.num_command + self.num_motor

    @property
    def num_nodes(self) -> int:
        """Sensory inputs and neurons together."""
        return self.num_sensory + self.num_neurons

    @property
    def num_synapses(self) -> int:
        """All synapses, sensory ones included."""
        return len(self.synapses)

    @cached_property
    def num_sensory_synapses(self) -> int:
        """Synapses whose source is a sensory input; they come first in `synapses`."""
        return sum(synapse.source < self.num_sensory for synapse in self.synapses)

    @cached_property
    def sources(self) -> np.ndarray:
        """Source node of every synapse, shape (synapses,), int64."""
        return np.array([synapse.source for synapse in self.synapses], dtype=np.int64)

    @cached_property
    def targets(self) -> np.ndarray:
        """Target node of every synapse, shape (synapses,), int64."""
        return np.array([synapse.target for synapse in self.synapses], dtype=np.int64)

    @cached_property
    def signs(self) -> np.ndarray:
        """Sign of every synapse, shape (synapses,), int64."""
        return np.array([synapse.sign for synapse in self.synapses], dtype=np.int64)

    @property
    def layers(self) -> dict[str, range]:
        """Nodes of each layer by name, in node order."""
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
        if set(values) != expected:
            raise ValueError(
                f"a wiring must have the keys {sorted(expected)}, got {sorted(values)}."
                " Write it with Wiring.to_dict."
            )
        return cls(**{**values, "synapses": tuple(Synapse(*s) for s in values["synapses"])})

    def draw(self, **options: Any) -> "Axes":
        """Draw the layers as columns and the signs as colours; see `drawing.draw_wiring`."""
        from ncp_control.drawing import draw_wiring  # matplotlib only when a picture is wanted

        return draw_wiring(self, **options)

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(nodes)} {name}" for name, nodes in self.layers.items() if nodes)
        kinds = "\n".join(f"  {kind:<20} {n:>6}" for kind, n in self.count_by_kind().items())
        return f"Wiring: {sizes}; {self.num_synapses} synapses\n{kinds}"


def ncp(
    num_sensory: int,
    num_inter: int,
    num_command: int,
    num_motor: int,
    *,
    sensory_fanout: int,
    inter_fanout: int,
    recurrent_command: int,
    motor_fanin: int,
    seed: int = 0,
) -> Wiring:
    """Draw a wiring by the sensory → inter → command (recurrent) → motor rule.

    Each source draws its targets without repetition; a target that nobody drew receives as many
    synapses as its layer has on average, so nobody is left unconnected.

    Args:
        num_sensory: Sensory inputs, >= 1.
        num_inter: Inter neurons, >= 1.
        num_command: Command neurons, >= 1.
        num_motor: Motor neurons, >= 1.
        sensory_fanout: Synapses from each sensory input to inter neurons, 1 to num_inter.
        inter_fanout: Synapses from each inter neuron to command neurons, 1 to num_command.
        recurrent_command: Distinct synapses among command neurons, 0 to num_command².
        motor_fanin: Synapses into each motor neuron from command neurons, 1 to num_command.
        seed: Seed of the draw; the same seed gives the same wiring.

    Raises:
        ValueError: If a size is not positive or a fan exceeds the layer it draws from.

    Source: Lechner et al. 2020, design rules 1 to 4.
    """
    sizes = (num_sensory, num_inter, num_command, num_motor)
    for name, size in zip(LAYER_NAMES, sizes, strict=True):
        _check_count(f"num_{name}", size, 1)
    _check_fan("sensory_fanout", sensory_fanout, 1, "num_inter", num_inter)
    _check_fan("inter_fanout", inter_fanout, 1, "num_command", num_command)
    _check_fan("recurrent_command", recurrent_command, 0, "num_command²", num_command**2)
    _check_fan("motor_fanin", motor_fanin, 1, "num_command", num_command)

    rng = np.random.default_rng(seed)
    sensory, inter, command, motor = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    recurrent = rng.choice(num_command**2, recurrent_command, replace=False)
    pairs = [
        *_connect(sensory, inter, sensory_fanout, rng),
        *_connect(inter, command, inter_fanout, rng),
        *((command[i // num_command], command[i % num_command]) for i in recurrent),
        # Drawn from the motor side: each motor neuron chooses its sources.
        *((source, target) for target, source in _connect(motor, command, motor_fanin, rng)),
    ]
    return _with_signs(sizes, pairs, rng)


def auto_ncp(
    num_sensory: int, num_neurons: int, num_motor: int, *, sparsity: float = 0.5, seed: int = 0
) -> Wiring:
    """Draw an NCP wiring from its total size alone.

    40 % of the neurons that are not motor neurons become command neurons; fans follow from the
    sparsity, as in the short form that users of `ncps.wirings.AutoNCP` know.

    Args:
        num_sensory: Sensory inputs, >= 1.
        num_neurons: Inter, command and motor neurons together, >= num_motor + 2.
        num_motor: Motor neurons, >= 1.
        sparsity: Share of possible synapses left out, 0 to 0.9.
        seed: Seed of the draw.

    Raises:
        ValueError: If the neurons do not suffice for three layers or the sparsity is out of range.
    """
    _check_count("num_motor", num_motor, 1)
    if num_neurons < num_motor + 2:
        raise ValueError(
            f"`num_neurons` must be at least num_motor + 2 = {num_motor + 2}, got {num_neurons!r}."
            " Add neurons or remove outputs."
        )
    if not 0.0 <= sparsity <= 0.9:
        raise ValueError(
            f"`sparsity` must be from 0 to 0.9, got {sparsity!r}. Choose a smaller share."
        )
    num_hidden = num_neurons - num_motor
    num_command = max(int(0.4 * num_hidden), 1)
    num_inter = num_hidden - num_command
    density = 1.0 - sparsity
    return ncp(
        num_sensory,
        num_inter,
        num_command,
        num_motor,
        sensory_fanout=max(int(num_inter * density), 1),
        inter_fanout=max(int(num_command * density), 1),
        recurrent_command=min(max(int(num_command * density * 2), 1), num_command**2),
        motor_fanin=max(int(num_command * density), 1),
        seed=seed,
    )


def fully_connected(num_sensory: int, num_neurons: int, num_motor: int, *, seed: int = 0) -> Wiring:
    """Connect every input and every neuron to every neuron, itself included.

    Args:
        num_sensory: Sensory inputs, >= 1.
        num_neurons: Neurons, >= num_motor; the last `num_motor` are motor neurons.
        num_motor: Motor neurons, >= 1.
        seed: Seed of the signs.
    """
    sizes = _two_layers(num_sensory, num_neurons, num_motor)
    nodes = range(num_sensory + num_neurons)
    pairs = [(source, target) for target in nodes[num_sensory:] for source in nodes]
    return _with_signs(sizes, pairs, np.random.default_rng(seed))


def random_wiring(
    num_sensory: int,
    num_neurons: int,
    num_motor: int,
    *,
    num_sensory_synapses: int,
    num_inner_synapses: int,
    seed: int = 0,
) -> Wiring:
    """Draw synapses uniformly, without layers: the control group of the NCP wiring.

    Args:
        num_sensory: Sensory inputs, >= 1.
        num_neurons: Neurons, >= num_motor; the last `num_motor` are motor neurons.
        num_motor: Motor neurons, >= 1.
        num_sensory_synapses: Distinct synapses from inputs to neurons.
        num_inner_synapses: Distinct synapses among neurons.
        seed: Seed of the draw.

    Raises:
        ValueError: If more synapses are asked for than there are pairs.
    """
    sizes = _two_layers(num_sensory, num_neurons, num_motor)
    num_sensory_pairs, num_inner_pairs = num_sensory * num_neurons, num_neurons**2
    _check_fan("num_sensory_synapses", num_sensory_synapses, 1, "its pairs", num_sensory_pairs)
    _check_fan("num_inner_synapses", num_inner_synapses, 0, "its pairs", num_inner_pairs)
    rng = np.random.default_rng(seed)
    sensory = rng.choice(num_sensory_pairs, num_sensory_synapses, replace=False)
    inner = rng.choice(num_inner_pairs, num_inner_synapses, replace=False)
    pairs = [(i // num_neurons, num_sensory + i % num_neurons) for i in sensory]
    pairs += [(num_sensory + i // num_neurons, num_sensory + i % num_neurons) for i in inner]
    return _with_signs(sizes, pairs, rng)


def _connect(
    sources: np.ndarray, targets: np.ndarray, fanout: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Let each source draw `fanout` targets; connect the targets that nobody drew."""
    pairs = [(s, t) for s in sources for t in rng.choice(targets, fanout, replace=False)]
    drawn = {target for _, target in pairs}
    mean_fanin = min(max(len(pairs) // len(targets), 1), len(sources))
    for target in targets:
        if target not in drawn:
            pairs += [(s, target) for s in rng.choice(sources, mean_fanin, replace=False)]
    return pairs


def _with_signs(
    sizes: Iterable[int], pairs: Iterable[tuple[int, int]], rng: np.random.Generator
) -> Wiring:
    """Give each pair an excitatory or inhibitory sign with equal probability."""
    num_sensory, num_inter, num_command, num_motor = sizes
    synapses = tuple(Synapse(s, t, 1 if rng.random() < 0.5 else -1) for s, t in pairs)
    return Wiring(
        num_sensory=num_sensory,
        num_inter=num_inter,
        num_command=num_command,
        num_motor=num_motor,
        synapses=synapses,
    )


def _two_layers(num_sensory: int, num_neurons: int, num_motor: int) -> tuple[int, int, int, int]:
    """Sizes of a wiring that knows no command layer."""
    _check_count("num_sensory", num_sensory, 1)
    _check_count("num_motor", num_motor, 1)
    if num_neurons < num_motor:
        raise ValueError(
            f"`num_neurons` must be at least num_motor = {num_motor}, got {num_neurons!r}."
            " Motor neurons count as neurons."
        )
    return num_sensory, num_neurons - num_motor, 0, num_motor


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}, got {value!r}. Correct the size."
        )


def _check_fan(name: str, value: int, least: int, limit_name: str, limit: int) -> None:
    if not least <= value <= limit:
        raise ValueError(
            f"`{name}` must be from {least} to {limit_name} = {limit}, got {value!r}."
            " Lower it or enlarge the layer."
        )


NCP19 = ncp(
    32,
    12,
    6,
    1,
    sensory_fanout=6,
    inter_fanout=4,
    recurrent_command=6,
    motor_fanin=6,
    seed=22222,
)
"""The driving circuit of Lechner et al. 2020: 32 inputs, 12 + 6 + 1 neurons, 252 synapses."""
