"""Options as words of a command line, and functions that take them as keywords."""

import functools
import re

import pytest

from ncp_control.keyword_options import (
    check_needed,
    check_options,
    named_arguments,
    read_options,
    takes_any,
    write_options,
)


def make(road, /, speed, *rest, seed=0):
    """Takes `speed` and `seed` by name, and nothing else."""


def make_any(speed=1, **others):
    """Takes any keyword."""


def test_options_are_read_as_json_or_text():
    assert read_options(["a=1", "b=positions", "c=[1, 2]", "d=true", "e=", "f=False"]) == {
        "a": 1, "b": "positions", "c": [1, 2], "d": True, "e": "", "f": False,
    }  # fmt: skip
    with pytest.raises(ValueError, match="words such as name=value, got 'observe'"):
        read_options(["observe"])


def test_options_are_written_as_they_are_read():
    options = {
        "a": 1, "b": "positions", "c": [0.5, 2.0], "d": True, "e": "", "f": None, "g": "true",
        "h": {"x": 1}, "i": "3",
    }  # fmt: skip
    words = write_options(options)
    assert words[:4] == ["a=1", "b=positions", "c=[0.5,2.0]", "d=true"]
    assert read_options(words) == options


@pytest.mark.parametrize(
    ("function", "named", "is_open"),
    [
        (make, ["speed", "seed"], False),
        (make_any, ["speed"], True),
        (functools.partial(make, 1, 2), ["seed"], False),
    ],
)
def test_what_a_function_says_it_takes_can_be_passed_by_name(function, named, is_open):
    assert (named_arguments(function), takes_any(function)) == (named, is_open)


@pytest.mark.parametrize(
    ("option", "function", "told"),
    [
        ("sped", make, "`option of x` must be one of ['colour', 'seed'], got 'sped'."),
        ("seeed", make, "Did you mean 'seed'?"),
        ("color", make, "Did you mean 'colour'?"),
        ("road", make, "got 'road'"),
        ("rest", make, "got 'rest'"),
        ("speed", make, "got 'speed'"),
        ("speed", make_any, "`option of x` must be one of ['colour'], got 'speed'."),
    ],
)
def test_an_option_that_a_function_does_not_take_is_refused(option, function, told):
    options = {"besides": ["colour"], "given": ["speed"]}
    check_options("option of x", ["colour"], function, **options)
    with pytest.raises(ValueError, match=re.escape(told)):
        check_options("option of x", ["colour", option], function, **options)


def test_a_function_of_any_keyword_is_passed_all_that_it_does_not_get_anyway():
    check_options("option of x", ["colour", "seed"], make_any, given=["speed"])


def test_what_a_function_cannot_do_without_must_be_among_the_options():
    told = "`options of x` must include 'speed', got ['seed']. Add speed=VALUE."
    with pytest.raises(ValueError, match=re.escape(told)):
        check_needed("options of x", ["seed"], make)
    check_needed("options of x", ["speed"], make)
    check_needed("options of x", [], make, given=["speed"])
    check_needed("options of x", [], make_any)
