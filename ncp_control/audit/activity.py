"""Joint activity of the neurons: principal components, and contributions to the motor neurons.

The potential of an LTC neuron relaxes towards a weighted mean of leak and reversal potentials,

    v∞_i = (g_i V_i + Σ_j w_ij s_j E_ij) / (g_i + Σ_j w_ij s_j)

so the term of each synapse, multiplied by the output scale, is its exact contribution to the motor
command that corresponds to v∞; the leak and the output offset contribute the rest.

Source of the component analysis: Lechner et al. 2020, PCA of the hidden states.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncp_control.audit.checks import check_finite, check_num_frames
from ncp_control.cells import LTC, Cell
from ncp_control.circuit import Activity
from ncp_control.policy import Policy


@dataclass(frozen=True, kw_only=True)
class PrincipalComponents:
    """Principal components of a recorded activity, in order of decreasing variance."""

    explained: np.ndarray
    """Fraction of the variance explained by each component, shape (components,); sums to 1."""
    directions: np.ndarray
    """Unit vectors of the components, shape (components, neurons)."""
    scores: np.ndarray
    """Centred activity projected on each component, shape (time, components)."""

    def count_for(self, share: float) -> int:
        """Return how many components explain at least the fraction `share` of the variance."""
        return int(np.searchsorted(np.cumsum(self.explained), share - 1e-12) + 1)


def principal_components(states: np.ndarray) -> PrincipalComponents:
    """Return the principal components of an activity of shape (time, neurons), by SVD.

    Raises:
        ValueError: If there are fewer than two frames, a value is not finite, or all neurons are
            constant.
    """
    states = check_finite("states", states)
    check_num_frames("states", states, 2)
    centred = states - states.mean(axis=0)
    scores, singular, directions = np.linalg.svd(centred, full_matrices=False)
    total = float((singular**2).sum())
    if total == 0.0:
        raise ValueError("`states` must vary, got a constant activity. Record a moving episode.")
    return PrincipalComponents(
        explained=singular**2 / total, directions=directions, scores=scores * singular
    )


def visible_part(cell: Cell, activity: Activity) -> Activity:
    """Return the activity of the state entries that are visible outside the cell.

    The cell states of an LSTM, for example, are left out: they act only through its hidden units.
    """
    width, taus_s = cell.num_visible, activity.timescales_s
    return dataclasses.replace(
        activity,
        neuron_names=activity.neuron_names[:width],
        states=activity.states[..., :width],
        timescales_s=None if taus_s is None else taus_s[..., :width],
    )


def unit_activity(cell: Cell, activity: Activity) -> tuple[list[str], np.ndarray]:
    """Return names and activity, shape (time, units), of the first sequence's visible part."""
    visible = visible_part(cell, activity)
    return visible.neuron_names, visible.states[0].cpu().double().numpy()


@torch.no_grad()
def actions_on(
    policy: Policy,
    features: Float[Tensor, "time input"],
    dt_s: Float[Tensor, " time"],
    reset: Bool[Tensor, " time"] | None = None,
    *,
    name: str = "actions",
) -> np.ndarray:
    """Return the actions of a policy for the features of consecutive frames, shape (time, action).

    An action that is a choice is replaced by the scores of the choices.

    Args:
        policy: The policy.
        features: Inputs of its circuit, one row per frame.
        dt_s: Time elapsed before each frame [s].
        reset: Frames before which the hidden state is reset; None for none.
        name: Name of the actions in the error message.

    Raises:
        ValueError: If an action is not finite.
    """
    resets = None if reset is None else reset[None]
    outputs, _ = policy.circuit(features[None], dt_s=dt_s[None], reset=resets)
    return check_finite(name, policy.limit(policy.respond(outputs))[0].cpu().double().numpy())


@torch.no_grad()
def motor_contributions(
    cell: Cell, inputs: Float[Tensor, "time input"], states: Float[Tensor, "time state"]
) -> tuple[list[str], np.ndarray]:
    """Split the command towards which each motor neuron relaxes into contributions.

    Args:
        cell: An LTC cell.
        inputs: Inputs of the circuit.
        states: Potentials of its neurons.

    Returns:
        Name of each term, e.g. "command_2 → motor_0", "leak → motor_0" or "offset → motor_0", and
        its value at each frame, shape (time, terms). The terms of a motor neuron sum to
        output_scale · v∞ + output_offset, plus the terms that the output reads directly from other
        neurons: "inter_3 (read) → motor_0".

    Raises:
        ValueError: If the cell is not an LTC.
    """
    if not isinstance(cell, LTC):
        raise ValueError(
            f"`cell` must be an LTC, got {type(cell).__name__!r}. Only in an LTC do the terms of"
            " the synapses add up to the command."
        )
    wiring, p = cell.wiring, cell.effective_parameters()
    presynaptic = torch.cat([inputs * cell.input_scale + cell.input_offset, states], dim=1)
    opened = p.weight * torch.sigmoid(p.slope * (presynaptic[:, cell.source] - p.threshold))
    total = p.leak_conductance + opened.new_zeros(states.shape).index_add(1, cell.target, opened)
    names, terms = [], []
    for m in range(wiring.num_motor):
        neuron = wiring.num_neurons - wiring.num_motor + m
        scale, motor = cell.output_scale[m] / total[:, neuron], cell.neuron_names[neuron]
        for k in (cell.target == neuron).nonzero()[:, 0].tolist():
            names.append(f"{wiring.node_names[int(cell.source[k])]} → {motor}")
            terms.append(scale * opened[:, k] * p.reversal_potential[k])
        names += [f"leak → {motor}", f"offset → {motor}"]
        leak = p.leak_conductance[neuron] * p.leak_potential[neuron]
        terms += [scale * leak, cell.output_offset[m].expand(len(states))]
        if cell.read_weight is not None:
            read = cell.neuron_names[cell.read_neurons]
            names += [f"{neuron} (read) → {motor}" for neuron in read]
            terms += (states[:, cell.read_neurons] * cell.read_weight[m]).unbind(1)
    return names, torch.stack(terms, dim=1).cpu().double().numpy()


def synapse_names(cell: Cell) -> list[str]:
    """Return the names of a wired cell's synapses, e.g. "inter_3 → command_0", in their order."""
    wiring = getattr(cell, "wiring", None)
    if wiring is None:
        return []
    names = wiring.node_names
    return [f"{names[s.source]} → {names[s.target]}" for s in wiring.synapses]
