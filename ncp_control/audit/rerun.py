"""What the inspector's page needs to run a circuit anew, with some of its neurons silenced.

The page has the features that the circuit was given and the circuit's numbers, the same that the
export to C writes. It runs them frame by frame, in open loop: nothing that was seen changes. A
silenced neuron is held at its mean over the episode, as the audit's ablation holds it
(`ncp_control.audit.ablation`).
"""

from typing import Any

from ncp_control.audit.inspector_data import pack_floats
from ncp_control.cells import LTC
from ncp_control.cells.membrane import find_layers
from ncp_control.deploy.c.tables import to_float32
from ncp_control.deploy.synapses import ltc_numbers, motor_numbers, synapse_ends, synapse_sources
from ncp_control.episode import Episode
from ncp_control.policy import Policy, VectorPolicy


def rerun_data(policy: Policy, episode: Episode) -> dict[str, Any]:
    """Return the circuit and what it was given in an episode, as JSON values.

    Args:
        policy: Who acted.
        episode: The episode, looked into.

    Raises:
        ValueError: If the page cannot run this circuit; the text says why, for the page.
    """
    cell = policy.circuit.cell
    if type(cell) is not LTC:
        raise ValueError(
            f"Neurons cannot be silenced on this page: it runs LTC circuits only, and this policy"
            f" has a cell of type {type(cell).__name__}."
        )
    if cell.integrator == "rk4":
        raise ValueError(
            "Neurons cannot be silenced on this page: the circuit is integrated by rk4, for which a"
            " silenced neuron is too quick."
        )
    own, known = type(policy), (Policy.respond, VectorPolicy.respond)
    if own.respond not in known or own.command is not Policy.command:
        raise ValueError(
            "Neurons cannot be silenced on this page: this policy turns the circuit's outputs into"
            " commands in a way of its own."
        )
    numbers, wiring = ltc_numbers(cell), cell.wiring
    layers = find_layers(wiring) if cell.integrator == "layered_midpoint" else ()
    read = cell.read_weight
    return {
        "integrator": cell.integrator,
        "unfolds": cell.unfolds,
        "synapses": {name: pack_floats(values) for name, values in numbers.synapses.items()},
        "neurons": {name: pack_floats(values) for name, values in numbers.neurons.items()},
        "sources": synapse_sources(wiring).tolist(),
        "ends": [[end["sensory"], end["earlier"], end["inner"]] for end in synapse_ends(wiring)],
        "layers": [[layer.neurons.start, layer.neurons.stop] for layer in layers],
        "motors": motor_numbers(cell).tolist(),
        "read_first": cell.read_neurons.start,
        "read_weights": None if read is None else to_float32(read).tolist(),
        "squash": getattr(policy, "squash_name", "clip"),
        "choices": list(policy.choices),
        "features": pack_floats(to_float32(episode.given)),
        "dt_s": pack_floats(to_float32(episode.thought.dt_s[0])),
    }
