"""Export a policy as a pair of C99 files, controller.h and controller.c.

Two programs come with them: one tests the controller, the other runs it for another process.

The C code needs no heap and includes only stdint.h and float.h, and with int8 weights on Arm
arm_acle.h of the compiler. The compiler may still call memcpy, memset and its own runtime library.
Between calls the code keeps nothing but the state that the caller holds.
"""

import copy
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncp_control import __version__, files
from ncp_control.cells import (
    CTGRU,
    CTRNN,
    GRU,
    LRC,
    LSTM,
    LTC,
    ODERNN,
    STC,
    Cell,
    CfC,
    Feedforward,
    MixedMemory,
    NeuralODE,
    StackedFrames,
    WiredCfC,
)
from ncp_control.deploy.c import dense_cells, wired
from ncp_control.deploy.c.faults import FaultFinder, fault_finder, limit_tables
from ncp_control.deploy.c.header import header
from ncp_control.deploy.c.self_test import self_test_header
from ncp_control.deploy.c.senses import Senses, frames_senses, vector_senses
from ncp_control.deploy.c.stages import CellStage, Stage, join_code, read_part
from ncp_control.deploy.c.tables import defines
from ncp_control.deploy.c.words import renamed
from ncp_control.deploy.naming import HEAD_WEIGHTS, check_prefix
from ncp_control.deploy.sensed import Sensed
from ncp_control.loop.monitor import certified_state
from ncp_control.loop.profile import InputProfile
from ncp_control.names import check_name
from ncp_control.policy import FramesPolicy, Policy, VectorPolicy
from ncp_control.policy.folder import weights_sha256

CELL_STAGES: dict[type[Cell], Callable[[Any], CellStage]] = {
    **dict.fromkeys((LTC, STC, LRC), wired.synaptic_stage),
    CfC: dense_cells.cfc_stage,
    WiredCfC: wired.wired_cfc_stage,
    CTRNN: dense_cells.ctrnn_stage,
    NeuralODE: dense_cells.neural_ode_stage,
    ODERNN: dense_cells.ode_rnn_stage,
    CTGRU: dense_cells.ctgru_stage,
    LSTM: dense_cells.lstm_stage,
    GRU: dense_cells.gru_stage,
    Feedforward: dense_cells.feedforward_stage,
    StackedFrames: dense_cells.stacked_frames_stage,
}
"""Functions that return the stage of a cell, by the cell's class; add one for your own cell."""


@dataclass(frozen=True, kw_only=True)
class CSource:
    """A policy as C source."""

    name: str
    """Prefix of all names that the files declare."""
    header: str
    source: str
    test_header: str
    test_program: str
    pipe_program: str
    """Source of the program that runs the controller for another process; see
    `ncp_control.deploy.program`."""

    def files(self) -> dict[str, str]:
        """Return the text of the files by file name."""
        return {
            f"{self.name}.h": self.header,
            f"{self.name}.c": self.source,
            f"{self.name}_test.h": self.test_header,
            f"{self.name}_test.c": self.test_program,
            f"{self.name}_pipe.c": self.pipe_program,
        }

    def write(self, folder: Path | str) -> list[Path]:
        """Write the files into a folder and return their paths; other files stay unchanged."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, text in self.files().items():
            files.write_file(folder / name, text)
            paths.append(folder / name)
        return paths


def to_c(
    policy: Policy,
    *,
    name: str = "controller",
    head_weights: str = "float32",
    profile: InputProfile | None = None,
) -> CSource:
    """Export a policy as C source.

    Args:
        policy: A FramesPolicy or a VectorPolicy.
        name: Prefix of the declared names and of the file names: an identifier of C.
        head_weights: Storage of the weights of a conv head: a name in `HEAD_WEIGHTS`.
        profile: Statistics of inputs in good driving, with which `controller_faults` compares
            observations.

    Raises:
        ValueError: If a part of the policy has no C code, a weight is not finite, or the profile
            belongs to other observations.

    Example:
        >>> to_c(load("drive-ncp")).write("firmware")
    """
    check_prefix(name)
    check_name("head_weights", head_weights, HEAD_WEIGHTS)
    digest, policy = weights_sha256(policy), copy.deepcopy(policy).cpu()
    senses = _senses(policy, head_weights)
    cell = cell_stage(policy.circuit.cell)
    finder = fault_finder(policy, senses, profile)
    source = renamed(_BEGINNING + _source(policy, senses, cell, finder), name)
    declared = header(
        policy,
        senses,
        cell,
        finder,
        name=name,
        head_weights=head_weights,
        digest=digest,
        checksum=_CHECKSUM,
        version=__version__,
    )
    checksum = f"0x{zlib.crc32((declared + source).encode()):08x}"
    return CSource(
        name=name,
        header=declared.replace(_CHECKSUM, checksum),
        source=source.replace(_CHECKSUM, checksum),
        test_header=self_test_header(policy, head_weights, profile),
        test_program=renamed(read_part("self_test_main"), name),
        pipe_program=renamed(_pipe_program(policy), name),
    )


def cell_stage(cell: Cell) -> CellStage:
    """Return the stage of a cell.

    Raises:
        ValueError: If the cell has no C code.
    """
    if type(cell) is MixedMemory:
        return dense_cells.mixed_memory_stage(cell, cell_stage(cell.cell))
    if type(cell) not in CELL_STAGES:
        known = ", ".join(cls.__name__ for cls in (*CELL_STAGES, MixedMemory))
        raise ValueError(
            f"`cell` must be one that has C code ({known}), got {type(cell).__name__!r}. Train one"
            " of these."
        )
    return CELL_STAGES[type(cell)](cell)


def _senses(policy: Policy, head_weights: str) -> Senses:
    if type(policy) is FramesPolicy:
        return frames_senses(policy, head_weights)
    if head_weights != "float32":
        raise ValueError(
            f"`head_weights` must be 'float32' for a policy without a conv head, got"
            f" {head_weights!r}. Leave it out."
        )
    if type(policy) is VectorPolicy:
        return vector_senses(policy)
    raise ValueError(
        f"`policy` must be a FramesPolicy or a VectorPolicy, got {type(policy).__name__!r}."
        " Put its cell into one of them."
    )


def _source(policy: Policy, senses: Senses, cell: CellStage, finder: FaultFinder) -> str:
    """Return the text of the source file after its beginning."""
    squash = getattr(policy, "squash_name", "clip")
    squashed = "    squash(output, CONTROLLER_ACTION_SIZE);\n" if squash == "tanh" else ""
    ending = _ENDING.replace("SENSES", senses.call).replace("KIND", senses.kind)
    ending = ending.replace("CELL_STEP", cell.step).replace("READ_OUT", cell.read)
    ending = ending.replace("    SQUASH\n", squashed)
    if policy.choices:
        ending += _SCORES.replace("READ_OUT", cell.read)
        words = {"ACTION_TYPE": "int32_t", "OUTPUTS": "CONTROLLER_SCORES", "ACT": _CHOOSE}
    else:
        words = {"ACTION_TYPE": "float", "OUTPUTS": "CONTROLLER_ACTION_SIZE", "ACT": _CLIP}
    for word, text in words.items():
        ending = re.sub(rf"\b{word}\b", text, ending)
    if cell.num_time_constants:
        ending += _TIME_CONSTANTS
    stages = [senses.stage, cell, finder.stage]
    ending += _FAULTS.replace("KIND", senses.kind).replace("FIND", finder.call)
    if (bounds := certified_state(policy)) is not None:
        stages.append(Stage(tables=limit_tables("state", bounds)))
        limits = "state->value, state_lowest, state_highest, CONTROLLER_STATE_SIZE"
        ending = ending.replace(
            "are_finite(state->value, CONTROLLER_STATE_SIZE)", f"are_within({limits})"
        )
    return join_code(stages, ending)


def _pipe_program(policy: Policy) -> str:
    """Return the text of the program that runs the controller for another process."""
    sensed = Sensed.of(policy)
    constants: dict[str, Any] = {
        "PIPE_OBSERVATION_BYTES": sensed.num_bytes,
        "PIPE_ACTION": "int32_t" if policy.choices else "float",
    }
    if sensed.frame_shape is not None:
        constants["PIPE_NUMBERS"] = 1
    elif sensed.dtype == np.uint8:
        constants["PIPE_FRAMES"] = 1
    return read_part("pipe_main").replace("PIPE_CONSTANTS\n", defines(constants))


_CHECKSUM = "CHECKSUM_OF_HEADER_AND_SOURCE"
_BEGINNING = f"""\
/* See controller.h. Rows of the tables have the names of their neurons and synapses behind them. */

#include "controller.h"

#include <float.h>

#if CONTROLLER_EXPORT_CRC32 != {_CHECKSUM}
#error "the header is of another export: take header and source of the same one"
#endif
#if defined __FAST_MATH__ || defined __ASSOCIATIVE_MATH__ || defined __RECIPROCAL_MATH__ || \\
    (defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__)
#error "compile without -ffast-math and its parts: the functions below rely on IEEE arithmetic"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "float must be computed in single precision: on 32-bit x86 compile with -mfpmath=sse -msse2"
#endif

typedef struct controller_workspace workspace;

"""

_ENDING = """\
/* Turn the observation into the features of the circuit; return 0 if they are not finite. */
static int perceive(workspace *w, const KIND *observation)
{
    SENSES
    return are_finite(w->features, (int)(sizeof w->features / sizeof w->features[0]));
}

void controller_init(struct controller_state *state)
{
    controller_reset(state);
}

void controller_reset(struct controller_state *state)
{
    for (int i = 0; i < CONTROLLER_STATE_SIZE; i++) state->value[i] = 0.0f;
}

/* Return 1 if the policy may remember this state and `is_good`. Otherwise forget everything. */
static int may_go_on(struct controller_state *state, int is_good)
{
    if (is_good && are_finite(state->value, CONTROLLER_STATE_SIZE)) return 1;
    controller_reset(state);
    return 0;
}

int controller_step(struct controller_state *state, struct controller_workspace *w,
                    const KIND *observation, float dt_s, ACTION_TYPE *action)
{
    float output[OUTPUTS];
    if (!(dt_s >= 0.0f && dt_s <= FLT_MAX)) return CONTROLLER_BAD_INPUT;
    if (!may_go_on(state, 1)) return CONTROLLER_BAD_STATE; /* a step may hide that */
    if (!perceive(w, observation)) return CONTROLLER_BAD_INPUT;
    if (dt_s > 1e15f) dt_s = 1e15f; /* all is at rest long before, and products must not overflow */
    CELL_STEP(w, w->features, state->value, dt_s);
    READ_OUT(state->value, output);
    SQUASH
    if (!may_go_on(state, are_finite(output, OUTPUTS))) return CONTROLLER_BAD_STATE;
    ACT
    return CONTROLLER_OK;
}
"""

_FAULTS = """
int controller_faults(struct controller_workspace *w, const KIND *observation, float *distance)
{
    int faults = 0;
    *distance = 0.0f;
    FIND
    return faults;
}
"""
_CLIP = "for (int k = 0; k < CONTROLLER_ACTION_SIZE; k++) action[k] = clip(output[k], 1.0f);"
_CHOOSE = "choose(output, action);"
_SCORES = """
void controller_scores(const struct controller_state *state, float *scores)
{
    READ_OUT(state->value, scores);
}
"""
_TIME_CONSTANTS = """
void controller_time_constants(const struct controller_state *state,
                               struct controller_workspace *w, float *tau_s)
{
    cell_time_constants(w, state->value, tau_s);
}
"""
