"""Whole policies as C: what they sense, how they answer bad input, and what their header tells."""

import copy
import hashlib
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from ncp_control import LTC, NCP19, Feedforward, FramesPolicy, VectorPolicy, auto_ncp, load
from ncp_control.contract import (
    ActionContract,
    Contract,
    DictContract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import SAME_BITS, WARNINGS, CController
from ncp_control.deploy.c.self_test import TOLERANCES, draw_observations, draw_times, expected
from ncp_control.deploy.c.senses import dequantize, to_int8
from ncp_control.deploy.c.stages import PARTS
from ncp_control.deploy.c.targets import HOST
from ncp_control.kernels.build import find_compiler
from ncp_control.policy import shipped_policies
from ncp_control.records import frames_in, numbers_in, pack

QUICK = ("-O1",)


def small_walker(**settings):
    return VectorPolicy(LTC(NCP19), observation_size=5, encoder=(7, 32), squash="tanh", **settings)


def run(controller, folder, *flags):
    """Compile a controller with its test program in a folder, run it, return what it says."""
    controller.write(folder)
    sources = [str(folder / f"{controller.name}{end}.c") for end in ("", "_test")]
    program = str(folder / "program")
    command = [*find_compiler(), *WARNINGS, *SAME_BITS, "-O1", *flags, *sources, "-o", program]
    subprocess.run(command, check=True)
    return subprocess.run([program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_pass_their_self_test(name, tmp_path):
    done = run(to_c(load(name)), tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["walker2d-ltc", "halfcheetah-ltc"])
def test_a_step_of_a_shipped_walker(name, drawn, largest_step_error):
    policy = load(name)
    errors = largest_step_error(policy, CController(policy, flags=QUICK), *drawn(policy, 60))
    assert errors.max() < 2e-6


def test_the_shipped_driver_acts_as_on_the_kernel():
    policy, controller = load("drive-ncp"), CController(load("drive-ncp"), flags=QUICK)
    frames = draw_observations(policy, 6)
    for frame, dt_s in zip(frames, draw_times(policy.circuit.frame_s, 6), strict=True):
        wanted = policy.act(frame, float(dt_s))
        np.testing.assert_allclose(controller.act(frame, float(dt_s)), wanted, atol=2e-6)


@pytest.mark.parametrize("head", ["light", "paper"])
@pytest.mark.parametrize("shape", [(33, 47, 1), (24, 61, 4)])
def test_heads_take_frames_of_any_shape(head, shape):
    policy = FramesPolicy(LTC(NCP19), head=head, frame_shape=shape).eval()
    frames, dt_s = draw_observations(policy, 3), draw_times(1 / 30, 3)
    wanted, state = expected(policy, frames, dt_s, "float32")
    controller = CController(policy, flags=QUICK)
    actions = [controller.act(f, float(t)) for f, t in zip(frames, dt_s, strict=True)]
    np.testing.assert_allclose(actions, wanted, atol=3e-6)
    np.testing.assert_allclose(controller.state, state, atol=3e-6)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_frame_and_numbers_are_a_struct(weights, tmp_path):
    wiring = auto_ncp(32 + 2, 10, 1)
    policy = FramesPolicy(LTC(wiring), head="light", frame_shape=(33, 47, 3), numbers=2).eval()
    policy.fit_scale(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))
    policy.contract = Contract(
        observation=DictContract(
            parts={
                "speed": VectorContract(entries=(Entry(name="speed", unit="m/s"),)),
                "camera": FramesContract(shape=(33, 47, 3)),
                "load": VectorContract(entries=(Entry(name="load", unit="kg"),)),
            }
        ),
        action=(ActionContract(name="steering"),),
        frame_s=1 / 30,
    )
    written = to_c(policy, name="left", head_weights=weights)
    assert HOST.run(HOST.build(written, tmp_path)).passed
    assert "struct left_observation {\n    const uint8_t *frame;\n" in written.header
    assert '#define LEFT_OBSERVATION_NAMES {"speed", "load"}' in written.header
    assert "FRAME_HEIGHT 33" in written.header and 'COLOUR "RGB"' in written.header

    records, dt_s = draw_observations(policy, 5), draw_times(1 / 30, 5)
    assert numbers_in(records, (33, 47, 3)).std(axis=0).min() > 0.5
    wanted, state = expected(policy, records, dt_s, weights)
    controller = CController(policy, head_weights=weights, flags=QUICK)
    tolerance = TOLERANCES[weights]
    actions = [controller.act(seen, float(t)) for seen, t in zip(records, dt_s, strict=True)]
    np.testing.assert_allclose(actions, wanted, atol=tolerance)
    np.testing.assert_allclose(controller.state, state, atol=tolerance)
    kept = controller.state.copy()
    broken = pack(
        {"speed": np.nan, "load": 1.0, "camera": frames_in(records[0], (33, 47, 3))},
        policy.contract.observation,
    )
    with pytest.raises(ValueError, match="must be finite numbers"):
        controller.act(broken)
    np.testing.assert_array_equal(controller.state, kept)


def test_flat_frames_are_seen_as_zeros():
    policy = load("drive-ncp")
    controller = CController(policy, flags=QUICK)
    for value in (0, 77, 255):
        frame = np.full((78, 200, 3), value, np.uint8)
        policy.reset(), controller.reset()
        np.testing.assert_allclose(controller.act(frame), policy.act(frame), atol=1e-6)


@pytest.mark.slow
def test_blocks_of_any_width_give_the_same_bits():
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=(30, 41, 3)).eval()
    frames = draw_observations(policy, 2)
    for weights in ("float32", "int8"):
        narrow = CController(policy, head_weights=weights, flags=("-O1",))
        wide = CController(policy, head_weights=weights)
        for frame in frames:
            narrow.act(frame), wide.act(frame)
        eights = CController(policy, head_weights=weights, flags=("-O2", "-DWIDE_REGISTERS"))
        for frame in frames:
            eights.act(frame)
        assert narrow.state.tobytes() == wide.state.tobytes() == eights.state.tobytes()


def test_a_head_may_have_any_number_of_channels():
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=(30, 41, 3)).eval()
    first, second = (
        torch.nn.Conv2d(3, 5, 3, stride=2, padding=1),
        torch.nn.Conv2d(5, 8, 3, stride=2),
    )
    policy.head.convolutions = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU())
    policy.head.weight = torch.nn.Parameter(torch.randn(8, 7 * 10, 4) / 10)
    frame = draw_observations(policy, 2)[1]
    for weights, tolerance in (("float32", 2e-6), ("int8", 0.05)):
        controller = CController(policy, head_weights=weights, flags=QUICK)
        policy.reset()
        np.testing.assert_allclose(controller.act(frame), policy.act(frame), atol=tolerance)


def test_int8_weights_are_whole_multiples_of_each_output_s_scale():
    weight = (
        torch.randn(6, 3, 5, 5)
        * torch.tensor([1.0, 1e-3, 10.0, 0.0, 1.0, 1.0])[:, None, None, None]
    )
    whole, scales = to_int8(weight)
    assert whole.dtype == np.int8 and np.abs(whole).max() == 127
    error = np.abs(whole * scales[:, None, None, None] - weight.numpy())
    assert (error <= 0.5001 * scales[:, None, None, None]).all()


def test_a_head_of_int8_weights_is_the_head_with_the_weights_these_stand_for():
    policy = load("drive-ncp")
    rounded = copy.deepcopy(policy)
    dequantize(rounded)
    controller = CController(policy, head_weights="int8", flags=QUICK)
    differences, effects = [], []
    for frame in draw_observations(policy, 4):
        action = controller.act(frame)
        differences.append(abs(action - rounded.act(frame)).max())
        effects.append(abs(action - policy.act(frame)).max())
    assert max(differences) < 2e-4  # of activations in 14 bits
    assert max(effects) > 2 * max(differences)  # the weights' rounding is what is seen


def test_the_self_test_of_int8_weights_does_not_allow_for_their_rounding(tmp_path):
    policy = load("road-ltc")
    observations, dt_s = draw_observations(policy, 16), draw_times(policy.circuit.frame_s, 16)
    actions = [expected(policy, observations, dt_s, weights)[0] for weights in TOLERANCES]
    assert np.abs(actions[0] - actions[1]).max() > 0.01
    controller = to_c(policy, head_weights="int8")
    assert f"#define SELF_TEST_TOLERANCE {TOLERANCES['int8']}f\n" in controller.test_header
    assert run(controller, tmp_path).returncode == 0
    right = "action[k] = clip(output[k], 1.0f);"
    wrong = controller.source.replace(right, "action[k] = clip(output[k] + 0.01f * k, 1.0f);")
    assert wrong != controller.source
    assert run(replace(controller, source=wrong), tmp_path).stdout.startswith("fail: 16 steps")


def test_bad_input_is_refused_and_changes_nothing():
    policy = small_walker()
    controller = CController(policy, flags=QUICK)
    controller.act(np.ones(5), 0.1)
    before = controller.state.copy()
    for observation, dt_s in (
        (np.array([1.0, np.nan, 1.0, 1.0, 1.0]), 0.1),
        (np.array([1.0, 1.0, np.inf, 1.0, 1.0]), 0.1),
        (np.ones(5), -0.1),
        (np.ones(5), np.nan),
        (np.ones(5), np.inf),
    ):
        with pytest.raises(ValueError, match="must be finite numbers, and a time >= 0, got"):
            controller.act(observation, dt_s)
        np.testing.assert_array_equal(controller.state, before)
    with pytest.raises(ValueError, match=r"`observation` must be float32 of shape \(5,\)"):
        controller.act(np.ones(6))
    controller.reset()
    np.testing.assert_array_equal(controller.state, 0.0)


def test_a_state_that_is_no_longer_finite_is_forgotten():
    policy = VectorPolicy(Feedforward(2, 3, 1), observation_size=2, observation_limit=np.inf)
    with torch.no_grad():
        policy.circuit.cell.hidden[0].weight.fill_(10.0)
    controller = CController(policy, flags=QUICK)
    with pytest.raises(ValueError, match="such that the state stays finite"):
        controller.act(np.array([3e38, 3e38]))
    np.testing.assert_array_equal(controller.state, 0.0)


def test_weights_that_single_precision_cannot_hold_are_refused():
    policy = VectorPolicy(Feedforward(2, 3, 1), observation_size=2).double()
    with torch.no_grad():
        policy.circuit.cell.output.bias[0] = 1e300
    with pytest.raises(ValueError, match=r"finite in single precision, got 1e\+300"):
        to_c(policy)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"name": "int"}, "`name` must be small letters, digits and underscores, and no word of C"),
        ({"name": "a b"}, "`name` must be small letters"),
        ({"name": "stdint"}, "no word of C, .* their headers"),
        ({"name": "class"}, "no word of C, C"),
        ({"name": "main"}, "or the exported code"),
        ({"name": "car_test"}, "must not end in _test or _pipe, got 'car_test'"),
        ({"head_weights": "int4"}, "`head_weights` must be one of .* Did you mean 'int8'"),
        ({"head_weights": "int8"}, "`head_weights` must be 'float32' for a policy without a conv"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, rule):
    with pytest.raises(ValueError, match=rule):
        to_c(small_walker(), **settings)


def test_a_name_that_the_code_uses_itself_is_refused():
    code = "".join(path.read_text() for path in PARTS.glob("*.c"))
    declared = set(re.findall(r" controller_(\w+)\(", to_c(small_walker()).header))
    assert {"step", "reset", "time_constants"} <= declared
    ends = "|".join(declared | {"scores"})
    names = set(re.findall(rf"\b(\w+?)_(?:{ends})\(", code)) - {"controller"}
    assert {"cell", "gru"} <= names
    for name in names:
        with pytest.raises(ValueError, match="or the exported code"):
            to_c(small_walker(), name=name)


def test_a_head_of_other_layers_is_refused():
    policy = FramesPolicy(LTC(NCP19), head="light")
    policy.head.convolutions[1] = torch.nn.Tanh()
    with pytest.raises(ValueError, match="`head` must be a ConvHead of square convolutions"):
        to_c(policy)


def test_the_source_needs_no_library_and_keeps_nothing(tmp_path):
    for name in ("drive-ncp", "walker2d-ltc"):
        controller = to_c(load(name))
        controller.write(tmp_path)
        assert re.findall(r"#include <(.*)>", controller.header + controller.source) == [
            "stdint.h",
            "float.h",
        ]
        command = [
            *find_compiler(),
            *WARNINGS,
            "-ffreestanding",
            "-fno-pie",
            "-Os",
            "-c",
            "controller.c",
        ]
        subprocess.run(command, check=True, cwd=tmp_path)
        nm = ["nm", "controller.o"]
        symbols = subprocess.run(nm, capture_output=True, text=True, check=True, cwd=tmp_path)
        kinds = {tuple(line.split()[-2:]) for line in symbols.stdout.splitlines()}
        assert {name for kind, name in kinds if kind == "U"} <= {"memset", "memcpy"}
        assert not [name for kind, name in kinds if kind in "dDbBcC"]  # no variable


@pytest.mark.parametrize(
    "flags",
    [
        "-ffast-math",
        "-funsafe-math-optimizations",
        "-fassociative-math -fno-signed-zeros -fno-trapping-math",
        "-freciprocal-math",
        "-ffinite-math-only",
    ],
)
def test_arithmetic_other_than_ieee_does_not_compile(flags, tmp_path):
    to_c(small_walker()).write(tmp_path)
    checked = [*find_compiler(), *WARNINGS, "-O2", "-fsyntax-only", "controller.c"]
    subprocess.run(checked, check=True, cwd=tmp_path)
    done = subprocess.run(
        [*checked, *flags.split()], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode != 0 and "compile without -ffast-math" in done.stderr


def test_header_and_source_of_different_exports_do_not_compile(tmp_path):
    drivers = [to_c(load("drive-ncp"), head_weights=weights) for weights in TOLERANCES]
    walkers = [to_c(small_walker()) for _ in range(2)]
    turned = load("drive-ncp")
    (steering,) = turned.contract.action
    turned.contract = replace(turned.contract, action=(replace(steering, positive="right"),))
    for one, other in (drivers, walkers, (drivers[0], to_c(turned))):
        for header, is_right in ((one.header, True), (other.header, False)):
            replace(one, header=header).write(tmp_path)
            command = [*find_compiler(), "-std=c99", "-fsyntax-only", "controller.c"]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=tmp_path
            )
            assert (done.returncode == 0) == is_right
            assert ("the header is of another export" in done.stderr) != is_right


def test_two_controllers_fit_in_one_program(tmp_path):
    for name in ("left", "right"):
        to_c(small_walker(), name=name).write(tmp_path)
    main = """
    #include "left.h"
    #include "right.h"
    int main(void)
    {
        struct left_state a; struct right_state b;
        left_init(&a); right_init(&b);
        return LEFT_STATE_SIZE != RIGHT_STATE_SIZE;
    }
    """
    (tmp_path / "main.c").write_text(main)
    sources = ["left.c", "right.c", "main.c"]
    command = [*find_compiler(), *WARNINGS, *sources, "-o", "both"]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert subprocess.run(["./both"], cwd=tmp_path, check=False).returncode == 0


def test_the_self_test_fails_when_a_weight_is_wrong(tmp_path):
    controller = to_c(load("walker2d-ltc"))
    motor = re.search(r"motor_scale\[6\] = \{\n    \{(.*?)f,", controller.source)
    assert motor is not None
    wrong = controller.source[: motor.start(1)] + "1e-3" + controller.source[motor.end(1) :]
    done = run(replace(controller, source=wrong), tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("fail: 16 steps")


def test_the_header_tells_the_weights_of_the_head():
    policy = load("drive-ncp")
    headers = [to_c(policy, head_weights=weights).header for weights in TOLERANCES]
    for weights, header in zip(TOLERANCES, headers, strict=True):
        assert f'#define CONTROLLER_HEAD_WEIGHTS "{weights}"\n' in header
        assert f"and a conv head of {weights} weights as plain C99" in header
    assert headers[0] != headers[1]
    assert "HEAD_WEIGHTS" not in to_c(small_walker()).header


def test_the_header_tells_what_the_caller_must_know():
    header = to_c(load("drive-ncp"), name="car").header
    for sentence in (
        "bounds    certified before clipping to [-1, 1]",
        "A state and a workspace belong to one call at a time.",
        "the top row first,\n * each row from left to right",
        "shares VIEW_CROP_TOP and VIEW_CROP_BOTTOM of its height off",
        "In the first step, and in the first after a reset, it is FRAME_S.",
        "run.py does so after 0.5 s without a good\n",
        "functions of their own runtime library",
    ):
        assert sentence in header
    slow = VectorPolicy(LTC(NCP19, frame_s=2.0), observation_size=32)
    assert "run.py does so after 6 s without" in to_c(slow).header
    assert "A frame is" not in to_c(slow).header


def test_the_header_tells_the_contract(tmp_path):
    policy = load("drive-ncp")
    header = to_c(policy).header
    weights = (shipped_policies()["drive-ncp"] / "weights.safetensors").read_bytes()
    assert f'WEIGHTS_SHA256 "{hashlib.sha256(weights).hexdigest()}"' in header
    assert "steering in [-1, 1], fraction of 0.4 rad, positive is left" in header
    assert '#define CONTROLLER_ACTION_POSITIVE {"left"}' in header
    assert "#define CONTROLLER_CERTIFIED_LOWEST {-1.02806" in header
    assert '#define CONTROLLER_COLOUR "RGB"' in header
    assert '"inter_0", ' in header and '"motor_0"}' in header
    assert "sensory_0 -> inter_0 */" in to_c(policy).source
    walker = to_c(load("walker2d-ltc")).header
    assert " *           0 height [m]\n" in walker


def test_a_policy_without_contract_warns_in_its_header():
    assert "WARNING: this policy has no contract." in to_c(small_walker()).header


def test_texts_of_a_contract_cannot_become_code(tmp_path):
    nasty = 'a*/ int evil; /*"\\??/\n#error evil\n//\\'
    policy = VectorPolicy(LTC(NCP19), observation_size=32)
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name=nasty, unit="°"),) * 32),
        action=(ActionContract(name=nasty, unit=nasty, positive=nasty),),
        frame_s=1 / 30,
        world=nasty,
        provenance={nasty: nasty},
    )
    controller = to_c(policy)
    main = """
    #include <stdio.h>
    #include "controller.h"
    static const char *const names[] = CONTROLLER_ACTION_NAMES;
    static const char *const units[] = CONTROLLER_OBSERVATION_UNITS;
    int main(void) { printf("%s%s", names[0], units[31]); return 0; }
    """
    done = run(replace(controller, test_program=main), tmp_path, "-Wno-error=unused-variable")
    assert done.stdout == nasty + "°"
    assert " [°]\n" in controller.header


def test_a_prefix_leaves_the_texts_of_the_contract_alone():
    policy = VectorPolicy(LTC(NCP19), observation_size=32)
    policy.contract = Contract(
        observation=VectorContract(entries=(Entry(name="controller_speed"),) * 32),
        action=(ActionContract(name="CONTROLLER_x"),),
        frame_s=1 / 30,
    )
    header = to_c(policy, name="left").header
    assert '#define LEFT_ACTION_NAMES {"CONTROLLER_x"}' in header
    assert '"controller_speed"' in header
    assert "void left_init(struct left_state *state);" in header


def test_the_view_of_a_camera_stands_in_the_header():
    policy = FramesPolicy(LTC(NCP19), head="light", frame_shape=(40, 60, 3))
    seen = FramesContract(shape=(40, 60, 3), colour="BGR")
    seen = replace(seen, view=replace(seen.view, crop_top=0.375, resize="linear", stack=1))
    policy.contract = Contract(
        observation=seen,
        action=(ActionContract(name="steering"),),
        frame_s=1 / 30,
        dt_s=(0.01, 0.5),
    )
    header = to_c(policy).header
    for line in ('COLOUR "BGR"', "VIEW_CROP_TOP 0.375f", 'VIEW_RESIZE "linear"', "DT_MOST_S 0.5f"):
        assert f"#define CONTROLLER_{line}\n" in header
    assert "bounds    not certified for every action" in header


def test_half_precision_is_exported_as_its_float32_values(tmp_path):
    policy = small_walker().to(torch.bfloat16)
    result = HOST.run(HOST.build(to_c(policy), tmp_path))
    assert result.passed
