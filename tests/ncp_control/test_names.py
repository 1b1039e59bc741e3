"""Names that a user types, and names shown in one line."""

import pytest

from ncp_control.names import check_name, one_line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("drive-ncp", "drive-ncp"),
        ("fährt 時 🚗", "fährt 時 🚗"),
        ("a\nb\rc\td\0e", "a␊b␍c␉d␀e"),
        ("\x1b[31m", "␛[31m"),
        ("\x1f \x20\x7e\x7f", "␟  ~␡"),
        ("a\x80\x85\x9f\xa0", "a���\xa0"),
        ("a\u2027\u2028\u2029\u202e\u202f", "a\u2027���\u202f"),
        ("\u2065\u2066\u2069\u206a", "\u2065��\u206a"),
        ("byte \udcff", "byte �"),
    ],
)
def test_a_name_is_shown_in_one_line(name, shown):
    assert one_line(name) == shown
    assert len(one_line(name).splitlines()) <= 1
    one_line(name).encode()  # a file can hold it


def test_an_unknown_name_is_answered_with_the_nearest():
    check_name("cell", "ltc", ["ltc", "cfc"])
    with pytest.raises(ValueError, match=r"`cell` must be one of \['cfc', 'ltc'\], got 'LTC'."):
        check_name("cell", "LTC", ["ltc", "cfc"])
    with pytest.raises(ValueError, match="Did you mean 'ct_rnn'"):
        check_name("cell", "CT-RNN", ["ltc", "ct_rnn"])
    with pytest.raises(ValueError, match="Choose a listed name"):
        check_name("cell", "zzz", ["ltc", "cfc"])
