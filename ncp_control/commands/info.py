"""`ncp info`: contract, architecture and certified bounds of a policy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ncp_control.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Info:
    """Describe a saved policy, or list the shipped ones."""

    policy: tyro.conf.Positional[str | None] = None
    """Folder of the policy, or the name of a shipped one, e.g. drive-ncp. If None: all shipped
    policies are listed."""


def info(settings: Info) -> None:
    """Print contract, cell, neurons, parameters, bounds and hash of a policy, or all names."""
    from ncp_control.policy import load, shipped_policies

    if settings.policy is None:
        print(shipped_table({name: load(path) for name, path in shipped_policies().items()}))
    else:
        print_description(load(settings.policy))


def shipped_table(policies: "Mapping[str, Policy]") -> str:
    """Return a table of policies: name, cell, parameters, and the world of the contract."""
    from ncp_control.layers import num_parameters
    from ncp_control.markdown import markdown_table

    rows = [
        [
            name,
            type(policy.circuit.cell).__name__,
            f"{num_parameters(policy):,}",
            "–" if policy.contract is None else policy.contract.world_text or "–",
        ]
        for name, policy in policies.items()
    ]
    return markdown_table(["policy", "cell", "parameters", "learned in"], rows)


def print_description(policy: "Policy") -> None:
    """Print the contract, architecture, certified bounds and hash of a policy."""
    if policy.contract is None:
        print("warning: this policy has no contract: the meaning of its numbers is unknown.")
    else:
        print(policy.contract.describe())
    for name, text in describe(policy):
        print(f"{name:<9} {text}")


def describe(policy: "Policy") -> list[tuple[str, str]]:
    """Return architecture, certified bounds, origin and hash of a policy, as names and texts."""
    from ncp_control.audit.bounds import certificate_of
    from ncp_control.intervals import outward
    from ncp_control.layers import num_parameters
    from ncp_control.policy.folder import weights_sha256

    cell = policy.circuit.cell
    kind = [type(policy).__name__, "with", type(cell).__name__]
    if hasattr(cell, "integrator"):
        kind += ["integrated by", str(cell.integrator)]
    sizes = f"inputs {cell.input_size}, state {cell.state_size}, outputs {cell.output_size}"
    in_circuit, in_all = (num_parameters(module) for module in (policy.circuit, policy))
    lines = [("policy", " ".join(kind)), ("circuit", sizes)]
    wiring = getattr(cell, "wiring", None)
    if wiring is not None:
        layers = ", ".join(f"{len(nodes)} {name}" for name, nodes in wiring.layers.items())
        text = f"{wiring.num_neurons} ({layers}), {wiring.num_synapses} synapses"
        lines.append(("neurons", text))
    lines.append(("weights", f"{in_all:,} parameters, {in_circuit:,} of them in the circuit"))
    try:
        certificate = certificate_of(cell)
        text = "none: they are known for LTC, STC and LRC circuits, except with the integrator rk4"
        if certificate is not None:
            low, high = certificate.state.low.min(), certificate.state.high.max()
            text = f"every state stays within [{', '.join(outward(low, high))}]: certified"
    except ValueError as error:  # a damaged circuit
        text = f"none: {error}"
    lines.append(("bounds", text))
    origin = {} if policy.contract is None else policy.contract.provenance
    lines += [(name, origin[name]) for name in ("command", "data", "commit") if origin.get(name)]
    digest = weights_sha256(policy)
    if "weights_sha256" not in origin:
        digest += ", weights not checked: the contract has no weights_sha256"
    return [*lines, ("sha256", digest)]
