"""Wirings and the rules that draw them."""

import hashlib
import itertools
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncp_control import (
    NCP19,
    Synapse,
    Wiring,
    auto_ncp,
    fully_connected,
    ncp,
    random_wiring,
    wiring_rules,
)
from ncp_control import wiring as wiring_module
from ncp_control.wiring import MAX_NODES, check_wiring

SMALL_FANS = {"sensory_fanout": 1, "inter_fanout": 1, "recurrent_command": 0, "motor_fanin": 1}
FANS = {"sensory_fanout": 6, "inter_fanout": 4, "recurrent_command": 6, "motor_fanin": 6}


def wiring_of(num_sensory, num_inter, num_command, num_motor, synapses=()):
    return Wiring(
        num_sensory=num_sensory,
        num_inter=num_inter,
        num_command=num_command,
        num_motor=num_motor,
        synapses=synapses,
    )


def random_wiring_of(*sizes):
    return random_wiring(*sizes, num_sensory_synapses=1, num_inner_synapses=0)


def test_ncp19_has_the_papers_synapses():
    assert NCP19.count_by_kind() == {
        "sensory → inter": 192,
        "inter → command": 48,
        "command → command": 6,
        "command → motor": 6,
    }
    assert NCP19.num_synapses == 252
    assert NCP19.num_neurons == 19


def test_ncp19_prints_its_synapses_by_kind():
    text = str(NCP19)
    for part in ("12 inter", "sensory → inter", "192", "252 synapses"):
        assert part in text


def test_same_seed_same_wiring_other_seed_another():
    first, again, other = (ncp(32, 12, 6, 1, **FANS, seed=s) for s in (1, 1, 2))
    assert first == again and hash(first) == hash(again)
    assert first != other


@given(
    sizes=st.tuples(*[st.integers(1, 12)] * 4),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_ncp_connects_everybody_and_skips_no_layer(sizes, seed, data):
    num_sensory, num_inter, num_command, _ = sizes
    wiring = ncp(
        *sizes,
        sensory_fanout=data.draw(st.integers(1, num_inter)),
        inter_fanout=data.draw(st.integers(1, num_command)),
        recurrent_command=data.draw(st.integers(0, num_command**2)),
        motor_fanin=data.draw(st.integers(1, num_command)),
        seed=seed,
    )
    assert set(wiring.targets) == set(range(num_sensory, wiring.num_nodes))
    motors = set(wiring.layers["motor"])
    assert set(wiring.sources) == set(range(wiring.num_nodes)) - motors
    allowed = {"sensory → inter", "inter → command", "command → command", "command → motor"}
    assert set(wiring.count_by_kind()) <= allowed


def test_fans_are_what_was_asked_for():
    fanouts = np.bincount(NCP19.sources[: NCP19.num_sensory_synapses], minlength=32)
    assert (fanouts == 6).all()
    into_motor = sum(s.target in NCP19.layers["motor"] for s in NCP19.synapses)
    assert into_motor == 6


def test_wiring_survives_json():
    assert Wiring.from_dict(json.loads(json.dumps(NCP19.to_dict()))) == NCP19


def test_order_of_synapses_does_not_matter():
    values = NCP19.to_dict()
    values["synapses"] = values["synapses"][::-1]
    assert Wiring.from_dict(values) == NCP19


def test_fully_connected_and_random_counts():
    assert fully_connected(3, 5, 2).num_synapses == (3 + 5) * 5
    drawn = random_wiring(32, 19, 1, num_sensory_synapses=192, num_inner_synapses=60, seed=3)
    assert drawn.num_sensory_synapses == 192
    assert drawn.num_synapses == 252


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("num_neurons", "num_motor"), [(28, 4), (4, 1), (7, 2), (48, 17)])
def test_auto_ncp_chooses_the_sizes_and_fans_of_ncps(monkeypatch, num_neurons, num_motor, sparsity):
    theirs = pytest.importorskip("ncps.wirings").AutoNCP(num_neurons, num_motor, sparsity)
    monkeypatch.setattr(wiring_rules, "ncp", lambda *sizes, **fans: (sizes, fans))
    sizes, fans = auto_ncp(8, num_neurons, num_motor, sparsity=sparsity, seed=3)
    assert sizes == (
        8,
        theirs._num_inter_neurons,
        theirs._num_command_neurons,
        theirs._num_motor_neurons,
    )
    most = theirs._num_command_neurons**2  # theirs may draw the same synapse twice
    assert fans == {
        "sensory_fanout": theirs._sensory_fanout,
        "inter_fanout": theirs._inter_fanout,
        "recurrent_command": min(theirs._recurrent_command_synapses, most),
        "motor_fanin": theirs._motor_fanin,
        "seed": 3,
    }


def test_the_smallest_circuit_has_one_neuron_a_layer():
    for sparsity in (0.0, 0.9):
        wiring = auto_ncp(1, 3, 1, sparsity=sparsity)
        assert (wiring.num_inter, wiring.num_command, wiring.num_motor) == (1, 1, 1)
        assert wiring.num_synapses == 4
    assert fully_connected(1, 1, 1).num_synapses == 2
    one = random_wiring(1, 1, 1, num_sensory_synapses=1, num_inner_synapses=0)
    assert one.synapses[0][:2] == (0, 1) and one.num_synapses == 1
    every = random_wiring(2, 3, 3, num_sensory_synapses=6, num_inner_synapses=9)
    assert every.num_synapses == 15


def test_nothing_left_out_connects_everybody():
    wiring = auto_ncp(3, 12, 1, sparsity=0.0)
    assert wiring.count_by_kind() == {
        "sensory → inter": 3 * 7,
        "inter → command": 7 * 4,
        "command → command": 8,
        "command → motor": 4,
    }


def test_a_neuron_that_nobody_drew_receives_as_many_synapses_as_its_layer_has_on_average():
    # 16 inputs draw one of 8 neurons each, two a neuron; two neurons are left over.
    wiring = ncp(16, 8, 1, 1, **SMALL_FANS, seed=3)
    assert wiring.num_sensory_synapses == 16 + 2 * 2
    crowded = ncp(20, 3, 40, 1, **SMALL_FANS, seed=1)
    kinds = crowded.count_by_kind()
    assert kinds["inter → command"] == 40 and kinds["command → motor"] == 40


def digest(wiring):
    return hashlib.sha256(repr([tuple(s) for s in wiring.synapses]).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda: NCP19, "81e8591098cc"),
        (
            lambda: ncp(
                5, 7, 4, 2, sensory_fanout=2, inter_fanout=1, recurrent_command=5, motor_fanin=2
            ),
            "7ad50bea0639",
        ),
        (lambda: ncp(9, 4, 3, 5, **SMALL_FANS, seed=3), "0cbd130f81d2"),
        (lambda: auto_ncp(8, 28, 4), "f6ed51f25a10"),
        (lambda: auto_ncp(3, 16, 2, sparsity=0.9, seed=4), "75e6de583e6f"),
        (lambda: fully_connected(3, 5, 2), "78b47b8ee4d5"),
        (
            lambda: random_wiring(4, 6, 2, num_sensory_synapses=9, num_inner_synapses=11),
            "f0a7955a5e32",
        ),
    ],
)
def test_a_seed_draws_the_wiring_it_always_drew(draw, expected):
    # Shipped policies and the rows of the tables were trained on wirings drawn so.
    assert digest(draw()) == expected


def test_neuron_names_follow_the_layers():
    assert NCP19.neuron_names[0] == "inter_0"
    assert NCP19.neuron_names[12] == "command_0"
    assert NCP19.neuron_names[-1] == "motor_0"
    assert NCP19.node_names[31] == "sensory_31"


def test_wiring_is_named_and_printed_without_its_synapses():
    assert repr(wiring_of(1, 0, 0, 1, ((0, 1, 1),))) == (
        "Wiring(num_sensory=1, num_inter=0, num_command=0, num_motor=1)"
    )
    with pytest.raises(TypeError, match="positional"):
        Wiring(1, 0, 0, 1, ())  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "sizes", "least"),
    [
        ("sensory", (0, 1, 1, 1), 1),
        ("inter", (1, -1, 1, 1), 0),
        ("command", (1, 1, -1, 1), 0),
        ("motor", (1, 1, 1, 0), 1),
    ],
)
def test_a_layer_that_is_too_small_is_refused(name, sizes, least):
    with pytest.raises(ValueError, match=f"`num_{name}` must be a whole .* at least {least}, got"):
        wiring_of(*sizes)


def test_the_limits_are_the_documented_ones():
    assert (MAX_NODES, wiring_module.MAX_SYNAPSES) == (10_000, 2_000_000)


def test_wiring_is_frozen():
    with pytest.raises(AttributeError):
        NCP19.num_motor = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        NCP19.sources[0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensory_fanout": 13}, "`sensory_fanout` must be from 1 to num_inter = 12, got 13"),
        ({"inter_fanout": 0}, "`inter_fanout` must be from 1 to num_command = 6, got 0"),
        ({"recurrent_command": 37}, "`recurrent_command` must be from 0 to num_command² = 36"),
        ({"sensory_fanout": 1.5}, "`sensory_fanout` must be from 1 to num_inter = 12, got 1.5"),
        ({"motor_fanin": 7}, "`motor_fanin` must be from 1 to num_command = 6, got 7"),
    ],
)
def test_impossible_fans_are_refused(changes, message):
    with pytest.raises(ValueError, match=message.replace("²", ".")):
        ncp(32, 12, 6, 1, **(FANS | changes))


def test_zero_motors_are_refused():
    with pytest.raises(ValueError, match="`num_motor` must be a whole number of at least 1, got 0"):
        ncp(32, 12, 6, 0, **FANS)


@pytest.mark.parametrize(
    ("synapse", "message"),
    [
        (Synapse(0, 0, 1), "must run from a node"),
        (Synapse(0, 3, 1), "must run from a node below 3 to a neuron from 2 to 2 with sign"),
        (Synapse(3, 2, 1), "must run from a node"),
        (Synapse(-1, 2, 1), "must run from a node"),
        (Synapse(0, 2, 2), "with sign -1 or \\+1"),
    ],
)
def test_impossible_synapses_are_refused(synapse, message):
    with pytest.raises(ValueError, match=message):
        Wiring(num_sensory=2, num_inter=0, num_command=0, num_motor=1, synapses=(synapse,))


def test_repeated_synapses_are_refused():
    twice = (Synapse(0, 1, 1), Synapse(0, 1, -1))
    with pytest.raises(ValueError, match="connect each pair of nodes once"):
        Wiring(num_sensory=1, num_inter=0, num_command=0, num_motor=1, synapses=twice)


def test_too_small_a_circuit_is_refused():
    with pytest.raises(ValueError, match="`num_neurons` must be at least num_motor \\+ 2 = 3"):
        auto_ncp(8, 2, 1)
    for sparsity in (0.91, -0.01, np.nan):
        with pytest.raises(ValueError, match=f"`sparsity` must be from 0 to 0.9, got {sparsity}"):
            auto_ncp(8, 20, 1, sparsity=sparsity)
    with pytest.raises(ValueError, match="`num_neurons` must be at least num_motor = 3, got 2"):
        fully_connected(8, 2, 3)
    for sizes in ((0, 2, 1), (1, 0, 1), (1, 2, 0), (1.0, 2, 1), (1, True, 1)):
        for draw in (fully_connected, random_wiring_of, auto_ncp):
            with pytest.raises(ValueError, match="must be (a whole number of )?at least"):
                draw(*sizes)


@pytest.mark.parametrize(
    ("synapses", "message"),
    [
        ((0, 1), "`num_sensory_synapses` must be from 1 to its pairs = 8, got 0"),
        ((9, 1), "`num_sensory_synapses` must be from 1 to its pairs = 8, got 9"),
        ((1, -1), "`num_inner_synapses` must be from 0 to its pairs = 16, got -1"),
        ((1, 17), "`num_inner_synapses` must be from 0 to its pairs = 16, got 17"),
        ((True, 1), "`num_sensory_synapses` must be from 1 to its pairs = 8, got True"),
    ],
)
def test_more_synapses_than_pairs_are_refused(synapses, message):
    with pytest.raises(ValueError, match=message):
        random_wiring(2, 4, 1, num_sensory_synapses=synapses[0], num_inner_synapses=synapses[1])


HUGE = 10**6
TOO_MANY = f"a wiring must have at most 10000 nodes, got at least {HUGE + 7}. Choose smaller"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: ncp(HUGE + 1, 3, 2, 1, **SMALL_FANS),
        lambda: ncp(1, HUGE + 3, 2, 1, **SMALL_FANS),
        lambda: ncp(1, 3, HUGE + 2, 1, **SMALL_FANS),
        lambda: ncp(1, 3, 2, HUGE + 1, **SMALL_FANS),
        lambda: auto_ncp(1, HUGE + 6, 1),
        lambda: auto_ncp(HUGE + 1, 6, 1),
        lambda: fully_connected(1, HUGE + 6, 1),
        lambda: fully_connected(HUGE + 1, 6, 1),
        lambda: random_wiring(1, HUGE + 6, 1, num_sensory_synapses=1, num_inner_synapses=1),
        lambda: wiring_of(HUGE + 1, 3, 2, 1),
        lambda: wiring_of(1, HUGE + 3, 2, 1),
        lambda: wiring_of(1, 3, HUGE + 2, 1),
        lambda: wiring_of(1, 3, 2, HUGE + 1),
    ],
)
def test_a_circuit_of_a_million_neurons_is_refused_before_it_takes_memory(draw):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=TOO_MANY):
            draw()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e6


def test_as_many_nodes_as_allowed():
    assert wiring_of(4000, 3000, 2000, 1000).num_nodes == MAX_NODES
    with pytest.raises(ValueError, match="at most 10000 nodes, got at least 10001"):
        wiring_of(4000, 3000, 2000, 1001)


@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (lambda: fully_connected(5, 10, 2), 150),
        (lambda: random_wiring(5, 10, 2, num_sensory_synapses=7, num_inner_synapses=30), 37),
        # Nobody is left over here, so these are all.
        (lambda: ncp(6, 1, 1, 2, **SMALL_FANS | {"recurrent_command": 1}), 6 + 1 + 1 + 2),
        (lambda: wiring_of(1, 0, 0, 3, iter([(0, 1, 1), (0, 2, 1), (0, 3, -1)])), 3),
    ],
)
def test_as_many_synapses_as_allowed(monkeypatch, draw, most):
    monkeypatch.setattr(wiring_module, "MAX_SYNAPSES", most)
    assert draw().num_synapses == most
    monkeypatch.setattr(wiring_module, "MAX_SYNAPSES", most - 1)
    monkeypatch.setattr(wiring_rules, "_with_signs", lambda *_: pytest.fail("drawn"))
    with pytest.raises(ValueError, match=f"at most {most - 1} synapses, got at least {most}"):
        draw()


def test_synapses_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(wiring_module, "MAX_SYNAPSES", 20)
    with pytest.raises(ValueError, match="at most 20 synapses, got at least 21"):
        wiring_of(1, 0, 0, 1, itertools.repeat((0, 1, 1)))


@pytest.mark.parametrize("seed", [-1, None, 0.5])
@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: auto_ncp(5, 10, 2, seed=seed),
        lambda seed: fully_connected(5, 10, 2, seed=seed),
        lambda seed: random_wiring(
            5, 10, 2, num_sensory_synapses=7, num_inner_synapses=30, seed=seed
        ),
    ],
)
def test_a_seed_that_draws_no_certain_wiring_is_refused(draw, seed):
    assert draw(0) == draw(0)
    with pytest.raises(
        ValueError, match=f"`seed` must be a whole number of at least 0, got {seed}"
    ):
        draw(seed)


@pytest.mark.parametrize("values", [None, [1, 2], {"num_sensory": 1, 2: 3}])
def test_what_is_no_description_of_a_wiring_is_refused(values):
    with pytest.raises(ValueError, match="a wiring must have the keys .*'num_command', .* got "):
        Wiring.from_dict(values)


def test_synapses_that_are_no_triples_are_refused():
    values = NCP19.to_dict()
    values["synapses"][3] = [0, 1]
    with pytest.raises(ValueError, match="`synapses` must be lists of source, target and sign"):
        Wiring.from_dict(values)


def test_a_number_of_units_is_no_wiring():
    check_wiring(NCP19)
    with pytest.raises(TypeError, match="`wiring` must be a Wiring, got 16"):
        check_wiring(16)
