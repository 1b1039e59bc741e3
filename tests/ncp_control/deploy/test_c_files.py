"""What the exported C files say to their users and to the compiler."""

import hashlib
import re
import subprocess
from dataclasses import replace

import pytest

from ncp_control import LTC, NCP19, FramesPolicy, VectorPolicy, load
from ncp_control.contract import (
    ActionContract,
    Contract,
    Entry,
    FramesContract,
    VectorContract,
)
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.compiled import WARNINGS
from ncp_control.deploy.c.self_test import TOLERANCES
from ncp_control.deploy.c.stages import PARTS
from ncp_control.kernels.build import find_compiler
from ncp_control.policy import shipped_policies
from tests.ncp_control.deploy.c_programs import run, small_walker


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


def test_the_header_certifies_nothing_where_bounds_are_vacuous():
    for name in ("road-ltc", "walker2d-ltc"):
        header = to_c(load(name)).header
        assert "nothing certified: its bounds are vacuous" in header
        assert "bounds    not certified for every action" in header
        assert "certified before clipping" not in header and "_CERTIFIED_" not in header


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
    assert "bounds    certified before clipping to [-1, 1]" in header
