"""Controllers on other processors: equal bits everywhere, and what they take on a Cortex-M4."""

import pytest

from ncp_control import LTC, NCP19, CfC, MixedMemory, VectorPolicy, WiredCfC, auto_ncp, load
from ncp_control.deploy.c import to_c
from ncp_control.deploy.c.targets import CORTEX_M4, HOST, TARGETS, deepest_stack

CROSS = TARGETS[1:]
POLICIES = {
    "ltc": lambda: VectorPolicy(LTC(NCP19), observation_size=32),
    "walker": lambda: load("walker2d-ltc"),
    "driver": lambda: load("drive-ncp"),
    "cfc": lambda: VectorPolicy(CfC(5, 8, 2), observation_size=5),
    "choices": lambda: VectorPolicy(LTC(auto_ncp(4, 20, 5)), observation_size=4, choices=(2, 3)),
    "mixed wired cfc": lambda: VectorPolicy(
        MixedMemory(WiredCfC(NCP19, mode="pure")), observation_size=32
    ),
}
WEIGHTS = {name: "float32" for name in POLICIES} | {"driver with int8": "int8"}


@pytest.mark.parametrize("target", CROSS, ids=[target.name for target in CROSS])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if "driver" in n else ()) for n in WEIGHTS]
)
def test_bits_are_equal_on_all_processors(target, name, tmp_path):
    for needed in (HOST, target):
        if needed.missing:
            pytest.skip(needed.missing)
    policy = POLICIES[name.removesuffix(" with int8")]()
    controller = to_c(policy, head_weights=WEIGHTS[name])
    here, there = (each.run(each.build(controller, tmp_path)) for each in (HOST, target))
    assert here.passed and there.passed
    assert there.bits == here.bits


def test_a_circuit_fits_a_cortex_m4(tmp_path):
    if CORTEX_M4.missing:
        pytest.skip(CORTEX_M4.missing)
    circuit = load("drive-ncp").circuit.cell
    controller = to_c(VectorPolicy(circuit, observation_size=32))
    size = CORTEX_M4.measure_size(controller, tmp_path)
    result = CORTEX_M4.run(CORTEX_M4.build(controller, tmp_path), steps=3)
    assert size.flash_bytes <= 6000
    assert size.stack_bytes <= 400
    assert result.state_bytes <= 100
    assert result.instructions is not None and 20_000 < result.instructions < 40_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "flash", "ram"), [("float32", 80_000, 100_000), ("int8", 30_000, 30_000)]
)
def test_a_driving_policy_fits_a_cortex_m4(weights, flash, ram, tmp_path):
    if CORTEX_M4.missing:
        pytest.skip(CORTEX_M4.missing)
    controller = to_c(load("drive-ncp"), head_weights=weights)
    size = CORTEX_M4.measure_size(controller, tmp_path)
    result = CORTEX_M4.run(CORTEX_M4.build(controller, tmp_path))
    assert size.flash_bytes <= flash
    # Beside the frame itself, which is the caller's.
    assert result.state_bytes + result.workspace_bytes + size.stack_bytes <= ram


def test_the_deepest_stack_is_that_of_the_deepest_chain_of_calls():
    graph = """
    node: { title: "step" label: "step\\nx.c:1:1\\n16 bytes (static)" }
    node: { title: "near" label: "near\\nx.c:2:1\\n40 bytes (static)" }
    node: { title: "far" label: "far\\nx.c:3:1\\n8 bytes (static)" }
    node: { title: "last" label: "last\\nx.c:4:1\\n64 bytes (static)" }
    edge: { sourcename: "step" targetname: "near" label: "x.c:5:1" }
    edge: { sourcename: "step" targetname: "far" label: "x.c:6:1" }
    edge: { sourcename: "far" targetname: "last" label: "x.c:7:1" }
    """
    assert deepest_stack(graph, "step") == 16 + 8 + 64


def test_a_target_says_what_it_misses(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda command: None)
    assert "cortex-m4 needs arm-none-eabi-gcc" in str(CORTEX_M4.missing)
    assert "apt-get install gcc-arm-none-eabi" in str(CORTEX_M4.missing)
