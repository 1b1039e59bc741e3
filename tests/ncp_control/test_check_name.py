"""Names that a user types: the known pass, a slip is told with the nearest known one."""

import pytest

from ncp_control.names import check_name

KNOWN = ["ctrnn", "ltc", "Wired_CfC"]


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_name_passes(name):
    check_name("cell", name, iter(KNOWN))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("CT-RNN", r"got 'CT-RNN'\. Did you mean 'ctrnn'\?"),
        ("LTC", r"Did you mean 'ltc'\?"),
        ("wired cfc", r"Did you mean 'Wired_CfC'\?"),
        ("ltx5", r"Did you mean 'ltc'\?"),  # 4 of 7 letters
        ("zzz", r"got 'zzz'\. Choose a listed name\."),
        (None, r"got None\."),
        (["ltc"], r"got \['ltc'\]\."),
    ],
)
def test_another_name_is_refused_with_all_that_are_known(name, advice):
    with pytest.raises(
        ValueError, match=r"^`cell` must be one of \['Wired_CfC', 'ctrnn', 'ltc'\], "
    ):
        check_name("cell", name, KNOWN)
    with pytest.raises(ValueError, match=advice):
        check_name("cell", name, KNOWN)


def test_a_name_without_end_is_cut_short():
    with pytest.raises(ValueError) as refusal:
        check_name("cell", "x" * 10**6, KNOWN)
    assert len(str(refusal.value)) < 300
