"""What policies cost and do as C: on a Cortex-M4, on this machine, and in closed loop."""

import copy
import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from envs.driving.metrics import LaneMetrics, summarize
from ncp_control import LTC, FramesPolicy, Policy, VectorPolicy, load
from ncp_control.acting.closed_loop import Info, PolicyPilot, closed_loop
from ncp_control.deploy.backends import ControllerPilot
from ncp_control.deploy.c import CSource, to_c
from ncp_control.deploy.c.compiled import CController
from ncp_control.deploy.c.self_test import draw_observations
from ncp_control.deploy.c.targets import CORTEX_M4
from ncp_control.loop.pilot import Controller
from ncp_control.loop.profile import InputProfile
from ncp_control.markdown import markdown_table
from ncp_control.policy import policy_folder
from ncp_control.worlds import find_world
from scripts.evaluation.driving import drive_km
from scripts.timing import Action

SHIPPED = (
    "drive-ncp",
    "drive-lstm",
    "drive-cnn",
    "walker2d-ltc",
    "walker2d-positions-ltc",
    "halfcheetah-ltc",
    "halfcheetah-positions-ltc",
)
DRIVER, ON_THE_ROAD = "drive-ncp", "road-ltc"
DRIFT_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class ControllerCost:
    """What a controller takes on a Cortex-M4 with FPU."""

    name: str
    flash_bytes: int
    state_bytes: int
    workspace_bytes: int
    stack_bytes: int
    fault_flash_bytes: int
    """Flash memory of `controller_faults`, beside that of a step."""
    instructions: int
    """Of one step."""
    fault_instructions: int
    """Of one call of `controller_faults`."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far the C goes from the policy in double precision."""

    name: str
    step_state: float
    """Largest difference of the state after a step from the same state."""
    step_action: float
    """The same of the action."""
    kernel_action: float
    """The same of the policy's own action in single precision, on the kernel where there is one."""
    run_state: float
    """Largest difference of the state where both run freely on the same observations."""
    run_action: float
    """The same of the action."""


@dataclass(frozen=True, kw_only=True)
class ExportedDrive:
    """A driver in closed loop, and how it differs from the policy on the same frames."""

    name: str
    metrics: LaneMetrics
    mean_difference: float
    """Mean |difference| of steering, as a share of the whole range to one side."""
    high_difference: float
    """99th percentile."""
    largest_difference: float


def controllers() -> dict[str, CSource]:
    """Return the C code of shipped policies, and of a circuit alone, by name."""
    circuit = load(DRIVER).circuit.cell
    assert isinstance(circuit, LTC)
    alone = VectorPolicy(circuit, observation_size=circuit.input_size)
    found = {f"{DRIVER}, circuit alone": to_c(alone)}
    for name in (*SHIPPED, ON_THE_ROAD):
        policy, profile = load(name), InputProfile.load(policy_folder(name))
        found[name] = to_c(policy, profile=profile)
        if isinstance(policy, FramesPolicy):
            found[f"{name}, int8 head"] = to_c(policy, head_weights="int8", profile=profile)
    return found


def measure_costs() -> list[ControllerCost]:
    """Compile each controller for a Cortex-M4 and run it in QEMU.

    Raises:
        ValueError: If compiler or emulator are missing.
    """
    if CORTEX_M4.missing:
        raise ValueError(f"`parts` must not hold 'export' here: {CORTEX_M4.missing}")
    costs = []
    for name, controller in controllers().items():
        with tempfile.TemporaryDirectory() as folder:
            size = CORTEX_M4.measure_size(controller, Path(folder))
            result = CORTEX_M4.run(CORTEX_M4.build(controller, Path(folder)), steps=5)
        if not result.passed or result.instructions is None or result.fault_instructions is None:
            raise RuntimeError(f"the self-test of {name} must pass on the Cortex-M4, got {result}.")
        costs.append(
            ControllerCost(
                name=name,
                flash_bytes=size.flash_bytes,
                state_bytes=result.state_bytes,
                workspace_bytes=result.workspace_bytes,
                stack_bytes=size.stack_bytes,
                fault_flash_bytes=size.fault_flash_bytes,
                instructions=result.instructions,
                fault_instructions=result.fault_instructions,
            )
        )
    return costs


def exported_steps() -> dict[str, Action]:
    """Control steps of policies, and of their C on this machine."""
    actions: dict[str, Action] = {}
    for name in (DRIVER, "walker2d-ltc", "halfcheetah-ltc"):
        policy = load(name)
        (observation,) = draw_observations(policy, 1)
        controller = CController(policy)
        actions[f"{name}, act"] = lambda p=policy, o=observation: p.act(o)
        actions[f"{name}, C"] = lambda c=controller, o=observation: c.act(o)
        if name == DRIVER:
            whole = CController(policy, head_weights="int8")
            actions[f"{name}, C with int8 head"] = lambda c=whole, o=observation: c.act(o)
    return actions


class ComparedPilot:
    """Let an exported controller act in one world, and note how the policy would have acted there.

    Args:
        controller: Who acts.
        policy: Whom it is compared with; both have memories of their own.
    """

    def __init__(self, controller: Controller, policy: Policy) -> None:
        self._acts, self._compared = ControllerPilot(controller), PolicyPilot(policy)
        self.differences: list[np.ndarray] = []

    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        """Return actions in [-1, 1]."""
        actions = self._acts(observations, infos, dt_s, reset)
        wanted = self._compared(observations, infos, dt_s, reset)
        self.differences.append(np.abs(actions - wanted).ravel())
        return actions


class _DriftPilot:
    """Let an exported controller act in one world, beside the policy in double precision."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.controller = policy, CController(policy)
        self.exact = copy.deepcopy(policy).double()
        self.state: torch.Tensor | None = None
        self.worst = np.zeros(5)

    @torch.no_grad()
    def __call__(
        self, observations: np.ndarray, infos: Sequence[Info], dt_s: np.ndarray, reset: np.ndarray
    ) -> np.ndarray:
        if reset.all():
            self.controller.reset()
            self.state = None
        before = torch.from_numpy(self.controller.state.copy()).double()[None]
        action = self.controller.act(observations[0], float(dt_s[0]))
        if observations.dtype != np.uint8:
            observations = observations.astype(np.float32)  # as the C sees them
        inputs, elapsed_s = self.exact.read_observations(observations)[:, None], float(dt_s[0])
        wanted, state = self.exact(inputs, before, dt_s=elapsed_s)
        own, _ = self.policy(
            self.policy.read_observations(observations)[:, None], before.float(), dt_s=elapsed_s
        )
        freely, free_state = self.exact(inputs, self.state, dt_s=elapsed_s)
        self.state = free_state
        found = [
            state[0].numpy() - self.controller.state,
            _clipped(wanted) - action,
            _clipped(wanted) - _clipped(own),
            free_state[0].numpy() - self.controller.state,
            _clipped(freely) - action,
        ]
        self.worst = np.maximum(self.worst, [np.abs(one).max() for one in found])
        return action[None]


def _clipped(action: torch.Tensor) -> np.ndarray:
    return action[0, 0].clamp(-1.0, 1.0).numpy()


def measure_drift() -> list[Drift]:
    """Let each shipped policy's C act for `DRIFT_STEPS` steps in the policy's own world."""
    drifts = []
    for name in SHIPPED:
        policy = load(name)
        assert policy.contract is not None
        world = find_world(policy.contract.world, **policy.contract.world_options)
        pilot, env = _DriftPilot(policy), world.make()
        for _ in closed_loop([env], pilot, num_steps=DRIFT_STEPS, frame_s=world.frame_s, seeds=[0]):
            pass
        env.close()
        worst = map(float, pilot.worst)
        fields = [field.name for field in dataclasses.fields(Drift)][1:]
        drifts.append(Drift(name=name, **dict(zip(fields, worst, strict=True))))
    return drifts


def measure_drives(km: float) -> list[ExportedDrive]:
    """Drive on held-out tracks: the policy, its C, and its C with int8 weights of the head."""
    policy = load(DRIVER)
    drives = []
    for name, weights in (("policy", None), ("C", "float32"), ("C with int8 head", "int8")):
        if weights is None:
            traces, differences = drive_km(km).place().run(policy, description=name), np.zeros(1)
        else:
            pilot = ComparedPilot(CController(policy, head_weights=weights), policy)
            traces = drive_km(km, parallel=1).place().run(pilot, description=name)
            differences = np.concatenate(pilot.differences)
        drives.append(
            ExportedDrive(
                name=f"{DRIVER}, {name}",
                metrics=summarize(traces),
                mean_difference=float(differences.mean()),
                high_difference=float(np.quantile(differences, 0.99)),
                largest_difference=float(differences.max()),
            )
        )
    return drives


def costs_table(costs: list[ControllerCost]) -> str:
    """Return the table of sizes and instructions."""
    rows = [
        [
            cost.name,
            f"{cost.flash_bytes:,}",
            f"{cost.state_bytes:,}",
            f"{cost.workspace_bytes:,}",
            f"{cost.stack_bytes:,}",
            f"{cost.instructions:,}",
            f"{cost.fault_flash_bytes:,}",
            f"{cost.fault_instructions:,}",
        ]
        for cost in costs
    ]
    header = ["controller", "flash [B]", "state [B]", "workspace [B]", "stack [B]"]
    header += ["instructions a step", "finding faults: flash [B]", "instructions"]
    title = "### C on a Cortex-M4 with FPU (GCC -O2, QEMU), beside the observation"
    return f"{title}\n\n{markdown_table(header, rows)}"


def drift_table(drifts: list[Drift]) -> str:
    """Return the table of differences from double precision."""
    rows = [[d.name, *(f"{v:.1e}" for v in dataclasses.astuple(d)[1:])] for d in drifts]
    header = ["policy", "a step: state", "a step: action", "of the kernel: action"]
    header += [f"{DRIFT_STEPS:,} steps: state", f"{DRIFT_STEPS:,} steps: action"]
    title = "### Largest difference of the C from double precision, in the policy's own world"
    return f"{title}\n\n{markdown_table(header, rows)}"


def drives_table(drives: list[ExportedDrive]) -> str:
    """Return the table of closed-loop drives."""
    rows = [
        [
            drive.name,
            f"{drive.metrics.driven_km:.1f}",
            str(drive.metrics.crashes),
            f"{drive.metrics.mean_cross_track_m:.3f}",
            f"{drive.mean_difference:.1e}",
            f"{drive.high_difference:.1e}",
            f"{drive.largest_difference:.1e}",
        ]
        for drive in drives
    ]
    header = ["driver", "driven [km]", "crashes", "mean cross-track error [m]"]
    header += ["steering differs by: mean", "99 %", "largest"]
    title = (
        "### The driver as C in closed loop on held-out tracks, and its steering on the frames seen"
    )
    return f"{title}\n\n{markdown_table(header, rows)}"
