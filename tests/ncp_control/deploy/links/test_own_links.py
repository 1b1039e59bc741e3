"""Links of one's own: options are told to the function that opens them, and others refused."""

import functools

import pytest

from ncp_control.deploy.links.base import LINKS, LinkKind, open_here
from ncp_control.loop.clocks import SimulatedClock
from ncp_control.policy import load


def by_name(contract, target, *, clock, depth=3):
    return depth


def any_option(contract, target, *, clock, **options):
    return options.get("depth")


def any_argument(*given, **options):
    return options.get("depth")


def open_with(monkeypatch, kind, **options):
    monkeypatch.setitem(LINKS._things, "mine", LinkKind(open=kind, meaning="of a test"))
    contract = load("drive-ncp").contract
    return open_here("mine", contract, "there", options, SimulatedClock())


@pytest.mark.parametrize("kind", [by_name, any_option, any_argument, functools.partial(by_name)])
def test_an_option_reaches_the_function_that_opens_a_link(kind, monkeypatch):
    assert open_with(monkeypatch, kind, depth=7) == 7


@pytest.mark.parametrize(
    ("kind", "option"),
    [(by_name, "dept"), (by_name, "clock"), (any_option, "clock"), (any_option, "contract")],
)
def test_what_is_no_option_of_a_link_is_refused(kind, option, monkeypatch):
    with pytest.raises(ValueError, match=f"`link_options` must be .*, got '{option}'"):
        open_with(monkeypatch, kind, **{option: 7})


def test_a_link_that_needs_an_option_says_so(monkeypatch):
    def needy(contract, target, *, clock, baud):
        return baud

    with pytest.raises(ValueError, match=r"`link_options` must include 'baud', got \[\]"):
        open_with(monkeypatch, needy)
    assert open_with(monkeypatch, needy, baud=9) == 9
