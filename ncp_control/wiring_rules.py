"""Rules that draw a wiring: that of neural circuit policies, and others to compare with.

Source: Lechner et al. 2020, "Neural circuit policies enabling auditable autonomy", Nature Machine
Intelligence 2:642 (design rules of section "Designing NCP networks"). One difference: recurrent
command synapses are drawn without repetition, so that their number is exactly the requested one.

A wiring has at most `MAX_NODES` nodes and `MAX_SYNAPSES` synapses (see `wiring`). Every rule checks
the sizes before it allocates memory.
"""

import inspect
from collections.abc import Callable, Iterable
from numbers import Integral

import numpy as np

from ncp_control.ranges import check_count
from ncp_control.registry import Registry, error_of_call
from ncp_control.wiring import LAYER_NAMES, Synapse, Wiring, check_sizes


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

    Each source draws its targets without repetition. A target that no source has drawn gets as many
    synapses as its layer has on average, so no neuron stays unconnected.

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
        ValueError: If a size is not positive or too large, or a fan-out or fan-in exceeds the size
            of its layer.

    Source: Lechner et al. 2020, design rules 1 to 4.
    """
    sizes = (num_sensory, num_inter, num_command, num_motor)
    for name, size in zip(LAYER_NAMES, sizes, strict=True):
        check_count(f"num_{name}", size)
    _check_fan("sensory_fanout", sensory_fanout, 1, "num_inter", num_inter)
    _check_fan("inter_fanout", inter_fanout, 1, "num_command", num_command)
    _check_fan("recurrent_command", recurrent_command, 0, "num_command²", num_command**2)
    _check_fan("motor_fanin", motor_fanin, 1, "num_command", num_command)
    check_count("seed", seed, 0)
    check_sizes(
        sum(sizes),
        num_sensory * sensory_fanout
        + num_inter * inter_fanout
        + recurrent_command
        + num_motor * motor_fanin,
    )

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
    """Draw an NCP wiring, given only its total size and sparsity, like `ncps.wirings.AutoNCP`.

    40 % of the neurons that are not motor neurons become command neurons; fan-outs and fan-ins
    follow from the sparsity.

    Args:
        num_sensory: Sensory inputs, >= 1.
        num_neurons: Inter, command and motor neurons together, >= num_motor + 2.
        num_motor: Motor neurons, >= 1.
        sparsity: Share of possible synapses left out, 0 to 0.9.
        seed: Seed of the draw.

    Raises:
        ValueError: If there are too few neurons for three layers, the sparsity is out of range, or
            a size is too large.
    """
    check_count("num_motor", num_motor)
    check_count("num_neurons", num_neurons)
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

    Raises:
        ValueError: If a size is too small or too large.
    """
    sizes = _two_layers(num_sensory, num_neurons, num_motor)
    check_count("seed", seed, 0)
    check_sizes(sum(sizes), (num_sensory + num_neurons) * num_neurons)
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
    """Draw synapses uniformly, without layers: a control group for the NCP wiring.

    Args:
        num_sensory: Sensory inputs, >= 1.
        num_neurons: Neurons, >= num_motor; the last `num_motor` are motor neurons.
        num_motor: Motor neurons, >= 1.
        num_sensory_synapses: Number of distinct synapses from inputs to neurons, >= 1.
        num_inner_synapses: Number of distinct synapses among neurons, >= 0.
        seed: Seed of the draw.

    Raises:
        ValueError: If a size is too small or too large, or there are fewer pairs of nodes than
            requested synapses.
    """
    sizes = _two_layers(num_sensory, num_neurons, num_motor)
    num_sensory_pairs, num_inner_pairs = num_sensory * num_neurons, num_neurons**2
    _check_fan("num_sensory_synapses", num_sensory_synapses, 1, "its pairs", num_sensory_pairs)
    _check_fan("num_inner_synapses", num_inner_synapses, 0, "its pairs", num_inner_pairs)
    check_count("seed", seed, 0)
    check_sizes(sum(sizes), num_sensory_synapses + num_inner_synapses)
    rng = np.random.default_rng(seed)
    sensory = rng.choice(num_sensory_pairs, num_sensory_synapses, replace=False)
    inner = rng.choice(num_inner_pairs, num_inner_synapses, replace=False)
    pairs = [(i // num_neurons, num_sensory + i % num_neurons) for i in sensory]
    pairs += [(num_sensory + i // num_neurons, num_sensory + i % num_neurons) for i in inner]
    return _with_signs(sizes, pairs, rng)


def _connect(
    sources: np.ndarray, targets: np.ndarray, fanout: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Let each source draw `fanout` targets; then connect the targets that were not drawn."""
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
    """Return the four layer sizes of a wiring without command neurons."""
    check_count("num_sensory", num_sensory)
    check_count("num_motor", num_motor)
    check_count("num_neurons", num_neurons)
    if num_neurons < num_motor:
        raise ValueError(
            f"`num_neurons` must be at least num_motor = {num_motor}, got {num_neurons!r}."
            " Motor neurons count as neurons."
        )
    return num_sensory, num_neurons - num_motor, 0, num_motor


def _check_fan(name: str, value: int, least: int, limit_name: str, limit: int) -> None:
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value <= limit:
        raise ValueError(
            f"`{name}` must be from {least} to {limit_name} = {limit}, got {value!r}."
            " Give a whole number, or enlarge the layer."
        )


def ncp19(*, seed: int) -> Wiring:
    """Draw a wiring with the sizes, fan-outs and fan-ins of `NCP19`."""
    return ncp(
        32,
        12,
        6,
        1,
        sensory_fanout=6,
        inter_fanout=4,
        recurrent_command=6,
        motor_fanin=6,
        seed=seed,
    )


NCP19 = ncp19(seed=22222)
"""The driving circuit of Lechner et al. 2020: 32 inputs, 12 + 6 + 1 neurons, 252 synapses."""


def random_like_ncp(num_sensory: int, num_neurons: int, num_motor: int, *, seed: int = 0) -> Wiring:
    """Draw as many synapses as `auto_ncp` for these sizes, but uniformly and without layers."""
    model = auto_ncp(num_sensory, num_neurons, num_motor, seed=seed)
    return random_wiring(
        num_sensory,
        num_neurons,
        num_motor,
        num_sensory_synapses=model.num_sensory_synapses,
        num_inner_synapses=model.num_synapses - model.num_sensory_synapses,
        seed=seed,
    )


WIRINGS: Registry[Callable[..., Wiring]] = Registry("wiring")
"""Rules by the name that settings use; each is called like `auto_ncp`, with three sizes and a seed.
A saved policy stores its synapses, not the name of the rule."""


def register_wiring(name: str, rule: Callable[..., Wiring]) -> None:
    """Register a wiring rule under a name.

    Args:
        name: Name of the rule.
        rule: Function that draws a wiring, called as
            `rule(num_sensory, num_neurons, num_motor, seed=seed)`.

    Raises:
        TypeError: If `rule` cannot be called.
        ValueError: If the name is taken, or the rule cannot be called so.
    """
    if not callable(rule):
        raise TypeError(
            f"`rule` must be a function that draws a wiring, got {type(rule).__name__!r}. Give"
            " a function of num_sensory, num_neurons, num_motor and seed."
        )
    if error := error_of_call(rule, 1, 1, 1, seed=0):
        raise ValueError(
            "`rule` must take (num_sensory, num_neurons, num_motor, seed=seed), got"
            f" {inspect.signature(rule)}: {error}. Change its arguments."
        ) from error
    WIRINGS.register(name, rule)


register_wiring("auto_ncp", auto_ncp)
register_wiring("fully_connected", fully_connected)
register_wiring("random", random_like_ncp)
