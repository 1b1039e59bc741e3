"""JSON that somebody else wrote: read as far as allowed, refused in a few words."""

import pytest

from ncp_control.json_files import SHOWN_CHARACTERS, read_json, shorten


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"a": [1, 2.5, null]}')
    size = path.stat().st_size
    assert read_json(path, max_bytes=size) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match=f"it has {size} bytes, and at most {size - 1} are read"):
        read_json(path, max_bytes=size - 1)


def test_equal_keys_may_stand_in_different_objects(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('[{"a": 1}, {"a": 2, "b": {"a": 3}}]')
    assert read_json(path, max_bytes=1000) == [{"a": 1}, {"a": 2, "b": {"a": 3}}]
    path.write_text('[{"b": 1, "a": 1, "a": 2}]')
    with pytest.raises(ValueError, match="^the key 'a' stands twice in one object$"):
        read_json(path, max_bytes=1000)


def test_other_faults_keep_the_readers_words(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("[1,")
    with pytest.raises(ValueError, match="Expecting value: line 1 column 4"):
        read_json(path, max_bytes=1000)


def test_a_long_value_is_cut_short():
    assert shorten("a" * (SHOWN_CHARACTERS - 2)) == repr("a" * (SHOWN_CHARACTERS - 2))
    assert shorten("a" * SHOWN_CHARACTERS) == "'" + "a" * (SHOWN_CHARACTERS - 1) + "…"
