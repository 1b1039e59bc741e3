"""Header file of a controller: contract as comments and constants, structs and functions."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ncp_control.audit.action_bounds import with_bounds
from ncp_control.contract import Contract, VectorContract
from ncp_control.deploy.c.faults import FAULTS, UNUSABLE, FaultFinder
from ncp_control.deploy.c.senses import Senses
from ncp_control.deploy.c.stages import CellStage
from ncp_control.deploy.c.tables import defines, number, within_float32
from ncp_control.deploy.c.words import block_comment, renamed, string, strings
from ncp_control.loop.settings import LoopSettings
from ncp_control.policy import FramesPolicy, Policy
from ncp_control.records import entries_of, frames_part

_USE = """\
Use:
    static struct controller_state state;
    static struct controller_workspace workspace;
    controller_init(&state);
    for each observation: controller_step(&state, &workspace, observation, dt_s, action);

Compile with -ffp-contract=off (GCC, Clang) and without -ffast-math: then every processor with
IEEE single precision gives the same bits. The code includes stdint.h and float.h, and needs no
heap. Compilers may call memcpy, memset and functions of their own runtime library (e.g. libgcc).
A conv head of int8 weights on a Cortex-M4 or above also includes arm_acle.h of the compiler.

A state and a workspace belong to one call at a time. Nothing else is written: the code has no
variables of its own, so that calls with other states and workspaces may run at the same time.

Not in this code is what run.py of ncp-control does around a policy. The caller must
  - check observations before each step (controller_faults), and refuse frozen and late ones;
  - limit actions to their range in the contract, which may be narrower than [-1, 1];
  - stop the robot if no good observation comes.
"""


def header(
    policy: Policy,
    senses: Senses,
    cell: CellStage,
    finder: FaultFinder,
    *,
    name: str,
    head_weights: str,
    digest: str,
    checksum: str,
    version: str,
) -> str:
    """Return the text of the header.

    Args:
        policy: The policy.
        senses: Stage that turns observations into features.
        cell: Stage of the cell.
        finder: Code that finds faults of observations.
        name: Prefix of all declared names.
        head_weights: Storage of the weights of a conv head.
        digest: Hash of the policy's weights.
        checksum: Checksum of header and source; the source refuses a header with another one.
        version: Version of this library.
    """
    names = policy.circuit.cell.neuron_names
    has_head = isinstance(policy, FramesPolicy)
    constants = {
        "WEIGHTS_SHA256": string(digest),
        "EXPORT_CRC32": checksum,
        **({"HEAD_WEIGHTS": string(head_weights)} if has_head else {}),
        "FRAME_S": number(policy.circuit.frame_s),
        "OBSERVATION_SIZE": senses.size,
        "ACTION_SIZE": policy.action_size,
        **_choice_constants(policy),
        "STATE_SIZE": len(names),
        "TIME_CONSTANTS": cell.num_time_constants,
        **_contract_constants(policy),
        "NEURON_NAMES": strings(names),
    }
    lines = "".join(f"#define {name.upper()}_{key} {value}\n" for key, value in constants.items())
    scratch = (*senses.stage.scratch, *cell.scratch, *finder.stage.scratch)
    fields = "".join(f"    {field};\n" for field in scratch)
    functions = _functions(policy, senses.kind, cell.num_time_constants)
    faults = _FAULTS + _codes()
    beginning = "#ifndef CONTROLLER_H\n#define CONTROLLER_H\n\n#include <stdint.h>\n\n"
    declarations = (
        f"\n{_STATUS}\n{faults}{_frame(policy)}{senses.types}{cell.types}"
        "/* What the policy remembers. Only this must stay between two steps. */\n"
        f"struct controller_state {{\n    float value[{len(names)}];\n}};\n\n"
        "/* Room to work in, which the caller need not set. States may take turns with one. */\n"
        f"struct controller_workspace {{\n{fields}}};\n\n"
        f"{_time(policy)}{functions}\n#endif\n"
    )
    return (
        block_comment(_top(policy, name, head_weights if has_head else None, version))
        + renamed(f"\n{beginning}{_EXPLAINED}", name)
        + lines  # texts of the contract stay as they are
        + renamed(declarations, name)
    )


def _top(policy: Policy, name: str, head_weights: str | None, version: str) -> list[str]:
    """Return the lines of the comment at the top of the header."""
    kind, cell = type(policy).__name__, type(policy.circuit.cell).__name__
    head = "" if head_weights is None else f" and a conv head of {head_weights} weights"
    first = f"A {kind} with {cell}{head} as plain C99, written by ncp-control {version}."
    lines = [first, "Change the policy, not this file.", "", *_describe(with_bounds(policy)), ""]
    return lines + renamed(_USE, name).splitlines()


_EXPLAINED = """\
/* WEIGHTS_SHA256 is the hash of weights.safetensors. The source compiles only with a header of its
 * own EXPORT_CRC32. FRAME_S is the nominal interval between steps [s]. Lists in braces initialise
 * arrays, e.g. const char *names[] = CONTROLLER_NEURON_NAMES; Where ACTION_OFFSET and ACTION_FACTOR
 * are defined, as for a forecast, an action x stands for ACTION_OFFSET + ACTION_FACTOR * x.
 * CERTIFIED_LOWEST and CERTIFIED_HIGHEST hold for actions before they are clipped. */
"""
_STATUS = """\
/* What controller_step returns. After BAD_INPUT (an observation that is not finite, a time that is
 * not from 0 up) state and action are as they were. After BAD_STATE (before or after the step the
 * state was outside of its certified bounds, where the cell has some, or state or action were not
 * finite) the state is reset and the action is as it was. */
#define CONTROLLER_OK 0
#define CONTROLLER_BAD_INPUT 1
#define CONTROLLER_BAD_STATE 2
"""


_FAULTS = """\
/* What controller_faults returns: 0, or a sum of these, as in docs/robots.md. Do not step on an
 * observation with one of FAULTS_UNUSABLE. With the others it is doubtful: run.py of ncp-control
 * lets commands change slowly then, holds the last one after 0.1 s and stops after 0.3 s. */
"""
_FRAME = """\
/* A frame is FRAME_HEIGHT x FRAME_WIDTH x FRAME_CHANNELS bytes without gaps: the top row first,
 * each row from left to right, the channels of a pixel side by side. Pixels are raw, from 0 to 255:
 * controller_step standardises each frame. HEAD_WEIGHTS is how the weights of the conv head are
 * stored here; WEIGHTS_SHA256 does not depend on it.
"""
_VIEW = """\
 * COLOUR is the order of the channels. The frame is made of a camera image as follows: cut the
 * shares VIEW_CROP_TOP and VIEW_CROP_BOTTOM of its height off, and scale the rest to the frame
 * (VIEW_RESIZE "area": mean of the area that a new pixel covers; "linear": interpolation). The
 * channels hold the last VIEW_STACK images, the oldest first; at the beginning, copies of one.
"""


def _frame(policy: Policy) -> str:
    """Return the comment on the layout of a frame, if the policy senses frames."""
    if not isinstance(policy, FramesPolicy):
        return ""
    text = _FRAME if policy.contract is None else _FRAME + _VIEW
    return text.rstrip("\n") + " */\n\n"


def _time(policy: Policy) -> str:
    """Return the comment on the elapsed time, and on when to reset the state."""
    frame_s, longest_s = policy.circuit.frame_s, math.inf
    if policy.contract is not None:
        longest_s = policy.contract.dt_s[1]
    pause_s = min(LoopSettings().pause_s(frame_s), longest_s)
    return f"""\
/* The time `dt_s` is that between this observation and the one of the last step that returned OK,
 * as they were taken [s]. In the first step, and in the first after a reset, it is FRAME_S. After
 * BAD_INPUT hold the last action; its time counts in the next `dt_s`. Reset the state when an
 * episode begins, and after a gap: run.py does so after {pause_s:.3g} s without a good
 * observation. */

"""


def _functions(policy: Policy, kind: str, num_time_constants: int) -> str:
    written, action = "numbers from -1 to 1", "float"
    if policy.choices:
        written, action = "numbers of choices, counted from 0,", "int32_t"
    text = f"""\
#ifdef __cplusplus
extern "C" {{
#endif

/* Prepare a state: nothing has been seen yet. */
void controller_init(struct controller_state *state);

/* Forget everything. */
void controller_reset(struct controller_state *state);

/* Act on an observation, `dt_s` seconds after the one before: OBSERVATION_SIZE numbers, or the
 * struct above if there is one. Writes ACTION_SIZE {written} and returns
 * a status. */
int controller_step(struct controller_state *state, struct controller_workspace *workspace,
                    const {kind} *observation, float dt_s, {action} *action);
"""
    if policy.choices:
        text += """
/* Write the SCORES scores of all choices, entry by entry, as they are after a step. Softmax of an
 * entry's scores gives its probabilities. */
void controller_scores(const struct controller_state *state, float *scores);
"""
    if num_time_constants:
        text += """
/* Write the TIME_CONSTANTS time constants [s] of the first entries of the state, as they are after
 * a step. Call it with the same workspace, before anything else uses that. */
void controller_time_constants(const struct controller_state *state,
                               struct controller_workspace *workspace, float *tau_s);
"""
    text += f"""
/* Return the faults of an observation, and write its distance from good driving, about 1 for usual
 * ones; 0 where it is not compared. The workspace may be that of a step. */
int controller_faults(struct controller_workspace *workspace, const {kind} *observation,
                      float *distance);
"""
    return text + "\n#ifdef __cplusplus\n}\n#endif\n"


def _codes() -> str:
    """Return the codes of the faults as C macros."""
    codes = {f"FAULT_{name.upper().replace(' ', '_')}": code for name, code in FAULTS.items()}
    codes["FAULTS_UNUSABLE"] = sum(FAULTS[name] for name in UNUSABLE)
    return defines({f"CONTROLLER_{name}": code for name, code in codes.items()}) + "\n"


def _choice_constants(policy: Policy) -> dict[str, Any]:
    """Return constants with the number of choices of each entry, and their names if known."""
    if not policy.choices:
        return {}
    constants: dict[str, Any] = {
        "CHOICES": f"{{{', '.join(map(str, policy.choices))}}}",
        "SCORES": sum(policy.choices),
    }
    if policy.contract is not None:
        names = [name for entry in policy.contract.action for name in entry.choices]
        constants["CHOICE_NAMES"] = strings(names)
    return constants


def _describe(contract: Contract | None) -> list[str]:
    """Return a readable description of the contract, as lines."""
    if contract is None:
        return [
            "WARNING: this policy has no contract. Nobody has said what its numbers mean: units,",
            "signs, ranges and rate must be known from elsewhere.",
        ]
    lines = contract.describe().splitlines()
    observation = contract.observation
    if isinstance(observation, VectorContract):
        lines[0] = f"senses    {observation.size} numbers:"
        lines[1:1] = [
            f"          {k} {entry.name}{f' [{entry.unit}]' if entry.unit else ''}"
            f"{_range(entry.range)}"
            for k, entry in enumerate(observation.entries)
        ]
    if any(entry.certified is None and not entry.choices for entry in contract.action):
        lines += ["bounds    not certified for every action"]
    if any(entry.certified is not None for entry in contract.action):
        lines += ["bounds    certified before clipping to [-1, 1]"]
    lines += [
        f"{name:<9} {value}"
        for name, value in contract.provenance.items()
        if name != "weights_sha256"
    ]
    return lines


def _range(limits: tuple[float, float]) -> str:
    return f" in [{limits[0]:g}, {limits[1]:g}]" if any(map(math.isfinite, limits)) else ""


def _contract_constants(policy: Policy) -> dict[str, Any]:
    contract, constants = with_bounds(policy), {}
    if isinstance(policy, FramesPolicy):
        sizes = zip(("HEIGHT", "WIDTH", "CHANNELS"), policy.frame_shape, strict=True)
        constants |= {f"FRAME_{name}": size for name, size in sizes}
    if contract is None:
        return constants
    frames, entries = frames_part(contract.observation), entries_of(contract.observation)
    if frames is not None:
        view = frames.view
        constants |= {
            "COLOUR": string(frames.colour),
            "VIEW_CROP_TOP": number(float(view.crop_top)),
            "VIEW_CROP_BOTTOM": number(float(view.crop_bottom)),
            "VIEW_RESIZE": string(view.resize),
            "VIEW_STACK": view.stack,
        }
    if entries:
        constants["OBSERVATION_NAMES"] = strings(entry.name for entry in entries)
        constants["OBSERVATION_UNITS"] = strings(entry.unit for entry in entries)
    actions = contract.action
    constants["ACTION_NAMES"] = strings(entry.name for entry in actions)
    constants["ACTION_UNITS"] = strings(entry.unit for entry in actions)
    constants["ACTION_POSITIVE"] = strings(entry.positive for entry in actions)
    if not policy.choices:
        constants |= _limits("ACTION", [entry.range for entry in actions])
        bounds = [entry.certified for entry in actions if entry.certified is not None]
        if len(bounds) == len(actions):
            constants |= _limits("CERTIFIED", bounds)
        if any(entry.scale is not None for entry in actions):
            scales = zip(*(entry.scale or (0.0, 1.0) for entry in actions), strict=True)
            for name, values in zip(("OFFSET", "FACTOR"), scales, strict=True):
                constants[f"ACTION_{name}"] = _numbers(values)
    constants |= {
        f"DT_{name}_S": number(float(value))
        for name, value in zip(("LEAST", "MOST"), contract.dt_s, strict=True)
        if math.isfinite(value)
    }
    return constants


def _limits(name: str, ranges: Sequence[tuple[float, float]]) -> dict[str, str]:
    """Return lowest and highest values as initialisers; infinity becomes the largest float."""
    ends = zip(("LOWEST", "HIGHEST"), within_float32(np.array(ranges)).T, strict=True)
    return {f"{name}_{end}": _numbers(values) for end, values in ends}


def _numbers(values: Iterable[float]) -> str:
    """Return numbers as the initialiser of an array."""
    return f"{{{', '.join(number(float(value)) for value in values)}}}"
