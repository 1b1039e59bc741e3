"""`run.py` as a person types it, where it must refuse."""

import re

import pytest

from scripts.run import RunPolicy, run_policy


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--link", "foo"], "error: `link` must be one of .*, got 'foo'"),
        (["--link", "video:none.mp4"], "error: `link` must name a video .*, got 'none.mp4'"),
        (["--link-options", "nope"], "error: `link_options` must be words .*, got 'nope'"),
    ],
)
def test_a_link_that_is_refused_leaves_no_run_and_tells_of_none(
    words, told, type_command, tmp_path, capfd
):
    assert type_command(run_policy, RunPolicy, "drive-ncp", *words) == 2
    printed, errors = capfd.readouterr()
    assert re.search(f"(?m)^{told}", errors)
    assert "run folder" not in printed
    assert list(tmp_path.glob("runs/*")) == []
