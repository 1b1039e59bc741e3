"""Whatever happens to one line or record of a log, the rest of the drive is used."""

import json
import warnings

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from envs.recorded import load_recording

NUM_FRAMES = 12
REFUSALS = (ValueError, FileNotFoundError, NotADirectoryError)
# Every example writes the whole log anew, so that a folder may be shared by all of them.
QUICK = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

line_text = st.text(st.characters(exclude_characters="\r\n"), max_size=40)
numbers = st.integers() | st.floats() | st.just(10**400)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=3,
)


@st.composite
def damages(draw):
    """A function that damages a line: cuts it off, or puts in or replaces some of it."""
    begin, end = sorted([draw(st.floats(0, 0.99)), draw(st.floats(0, 0.99))])
    kind = draw(st.sampled_from(["cut", "nul", "replaced", "text"]))
    text = draw(line_text)

    def damage(line):
        first, last = int(begin * len(line)), int(end * len(line))
        return {
            "cut": line[:last],
            "nul": line[:first] + "\0" * 4000,
            "replaced": line[:first] + text + line[last + 1 :],
            "text": text + "7",  # with a digit: a line of words alone would be a header
        }[kind]

    return damage


def load_quietly(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_recording(folder)


def check_rest(recording, images, damaged):
    """Every frame but the damaged one is there; that one is there as well or counted."""
    used = {path.name for episode in recording.episodes for path in episode.image_paths}
    assert used >= {image for i, image in enumerate(images) if i != damaged}
    assert recording.num_listed == len(recording) + recording.num_skipped
    assert recording.num_listed in (NUM_FRAMES - 1, NUM_FRAMES), "an empty line is no frame"
    assert recording.num_skipped == sum(recording.source["skipped"].values())


@pytest.fixture
def log(tmp_path, make_udacity):
    """A log, its lines and its images."""
    times_ms = range(0, 50 * NUM_FRAMES, 50)
    folder = make_udacity(tmp_path / "log", times_ms, [0.5] * NUM_FRAMES)
    path = folder / "driving_log.csv"
    cells = [line.split(",") for line in path.read_text().splitlines()]
    lines = [",".join([center, "", "", *numbers]) for center, _, _, *numbers in cells]
    return path, lines, sorted(path.name for path in (folder / "IMG").iterdir())


@pytest.fixture
def tub(tmp_path, make_tub):
    """A catalog, its lines and its images; another catalog is whole."""
    folder = make_tub(tmp_path / "tub", [{"user/angle": 0.5}] * NUM_FRAMES)
    path = folder / "catalog_0.catalog"
    images = [f"{i}_cam_image_array_.jpg" for i in range(NUM_FRAMES)]
    return path, path.read_text().splitlines(), images


@given(damage=damages(), place=st.integers(0, NUM_FRAMES - 1))
@example(damage=lambda line: "center", place=0)
@example(damage=lambda line: line.replace(",0.5,", ",1e999,"), place=3)
@example(damage=lambda line: line.replace(",0.5,", ',"0.5,'), place=3)
@example(damage=lambda line: '"' + line, place=3)
@example(damage=lambda line: line + ";" * 500, place=3)
@QUICK
def test_a_damaged_line_of_a_log_costs_one_frame(log, damage, place):
    path, lines, images = log
    damaged = [*lines[:place], damage(lines[place]), *lines[place + 1 :]]
    path.write_text("\n".join(damaged), errors="surrogatepass")
    check_rest(load_quietly(path.parent), images, place)


@given(damage=damages(), place=st.integers(0, NUM_FRAMES // 2 - 1))
@example(damage=lambda line: "[" * 100_000, place=2)
@QUICK
def test_a_damaged_line_of_a_catalog_costs_one_frame(tub, damage, place):
    path, lines, images = tub
    damaged = [*lines[:place], damage(lines[place]), *lines[place + 1 :]]
    path.write_text("\n".join(damaged) + "\n", errors="surrogatepass")
    check_rest(load_quietly(path.parent), images, place)


@given(
    field=st.sampled_from(
        [
            "_index",
            "_session_id",
            "_timestamp_ms",
            "cam/image_array",
            "user/angle",
            "user/mode",
            "user/throttle",
        ]
    ),
    value=values,
    place=st.integers(0, NUM_FRAMES // 2 - 1),
)
@example(field="cam/image_array", value="\0", place=2)
@example(field="cam/image_array", value="a" * 5000, place=2)
@example(field="cam/image_array", value="\ud800", place=2)
@QUICK
def test_a_damaged_field_of_a_record_costs_one_frame(tub, field, value, place):
    path, lines, images = tub
    record = json.dumps(json.loads(lines[place]) | {field: value})
    path.write_text("\n".join([*lines[:place], record, *lines[place + 1 :]]) + "\n")
    check_rest(load_quietly(path.parent), images, place)


@pytest.mark.parametrize(
    "name", ["driving_log.csv", "manifest.json", "record_3.json", "exclude.json", "meta.json"]
)
@given(content=st.binary(max_size=200) | values.map(lambda v: json.dumps(v).encode()))
@QUICK
def test_any_bytes_end_in_a_refusal_that_says_why(tmp_path, make_old_tub, name, content):
    folder = tmp_path / "tub"
    if not folder.is_dir():
        make_old_tub(folder, [{}] * 4)
    (folder / name).write_bytes(content)
    try:
        assert len(load_quietly(folder))
    except REFUSALS as error:
        assert len(str(error)) > 40


@given(content=st.binary(max_size=300), name=st.sampled_from(["manifest.json", "IMG", "images"]))
@QUICK
def test_a_damaged_manifest_or_a_file_for_a_folder_is_refused(tub, content, name):
    path, _, _ = tub
    if (path.parent / name).is_dir():
        return
    (path.parent / name).write_bytes(content)
    try:
        assert len(load_quietly(path.parent))
    except REFUSALS as error:
        assert len(str(error)) > 40
