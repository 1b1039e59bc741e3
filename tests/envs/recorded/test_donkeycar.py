import cv2
import numpy as np
import pytest

from envs.recorded import load_donkeycar, load_recording

RED = (255, 0, 0)


def test_a_tub_becomes_demonstrations(tmp_path, make_tub, store_of):
    angles = [0.0, 0.5, -1.0, 0.25]
    tub = make_tub(tmp_path / "tub", [{"user/angle": angle} for angle in angles])
    store = store_of(load_recording(tub), tmp_path / "store")
    np.testing.assert_array_equal(store.actions[:, 0], [0.0, -0.5, 1.0, -0.25])  # left positive
    np.testing.assert_allclose(store.dt_s, 0.05, atol=1e-6)
    np.testing.assert_allclose(store.observations.mean((0, 1, 2)), RED, atol=4)


def test_mixed_sizes_and_grey_images_become_one_shape(tmp_path, make_tub, store_of):
    tub = make_tub(tmp_path / "tub", [{}] * 3)
    grey = np.full((76, 135), 200, np.uint8)
    cv2.imwrite(str(tub / "images" / "1_cam_image_array_.jpg"), grey)
    store = store_of(load_donkeycar(tub), tmp_path / "store")
    assert store.observations.shape == (3, 78, 200, 3)
    np.testing.assert_allclose(store.observations[1].mean((0, 1)), [200] * 3, atol=2)


def test_deleted_records_and_autopilots_are_left_out_and_counted(tmp_path, make_tub):
    records = [{} for _ in range(14)]
    records[12] = {"user/mode": "local"}
    tub = make_tub(tmp_path / "tub", records, deleted=[1, 4, 5, 6, 7])
    with pytest.warns(UserWarning, match=r"Skipped 6 of the 14 .*: deleted by the driver: 5"):
        recording = load_donkeycar(tub)
    assert recording.skipped == {"deleted by the driver": 5, "driven by an autopilot": 1}
    # One deleted record is bridged, four in a row are not.
    assert [episode.rows.tolist() for episode in recording.episodes] == [
        [0, 2, 3],
        [8, 9, 10, 11, 13],
    ]


def test_a_session_begins_an_episode(tmp_path, make_tub, lengths):
    records = [{"_session_id": "a"}] * 3 + [{"_session_id": "b"}] * 2
    assert lengths(load_donkeycar(make_tub(tmp_path / "tub", records))) == [3, 2]


def test_a_tub_that_is_none_is_named(tmp_path, make_tub):
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold a manifest.json"):
        load_donkeycar(tmp_path)
    tub = make_tub(tmp_path / "tub", [{}] * 4)
    for catalog in tub.glob("*.catalog"):
        catalog.unlink()
    with pytest.raises(FileNotFoundError, match=r"`catalog_0.catalog` must lie in the tub"):
        load_donkeycar(tub)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user/angle": float("nan")}, "steering is no number: 1 (first: 'nan' in {place})"),
        ({"user/angle": None}, "steering is no number: 1 (first: 'None' in {place})"),
        ({"user/angle": True}, "steering is no number: 1 (first: 'True' in {place})"),
        ({"user/angle": "0.5"}, "steering is no number: 1 (first: '0.5' in {place})"),
        ({"user/angle": 10**400}, "steering is no number: 1 (first: '1000"),
        ({"user/angle": 1.11}, "steering outside [-1, 1]: 1 (first: 1.11 in {place})"),
        ({"user/angle": -40}, "steering outside [-1, 1]: 1 (first: -40 in {place})"),
        ({"cam/image_array": None}, "record without an image: 1 (first: {place})"),
        ({"cam/image_array": ""}, "record without an image: 1 (first: {place})"),
        ({"_timestamp_ms": "17"}, "record without a time: 1 (first: {place})"),
        ({"_timestamp_ms": float("inf")}, "record without a time: 1 (first: {place})"),
        ({"_index": 1.5}, "record without a number: 1 (first: {place})"),
        ({"_index": True}, "record without a number: 1 (first: {place})"),
        ({"_index": 2**80}, "record without a number: 1 (first: {place})"),
    ],
)
def test_a_record_that_cannot_be_used_is_skipped_and_told(tmp_path, changes, reason, make_tub):
    records = [{"user/angle": -0.5} for _ in range(10)]
    records[6] |= changes
    tub = make_tub(tmp_path / "tub", records)
    with pytest.warns(UserWarning) as caught:
        recording = load_recording(tub)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.startswith(f"Skipped 1 of the 10 images listed in '{tub}': ")
    assert reason.format(place="line 2 of catalog_1.catalog") in text
    assert (len(recording), recording.num_listed, recording.num_skipped) == (9, 10, 1)
    assert recording.source["skipped"] == recording.skipped == {reason.split(":")[0]: 1}
    np.testing.assert_array_equal(recording.episodes[0].numbers["steering"], np.full(9, 0.5))
    assert 6 not in recording.episodes[0].rows


def test_small_overshoots_are_clipped_and_told(tmp_path, make_tub):
    angles = [0.0, 1.003, -1.1, 1.0, -1.0, 1.0 + 1e-9]
    tub = make_tub(tmp_path / "tub", [{"user/angle": angle} for angle in angles])
    with pytest.warns(UserWarning) as caught:
        recording = load_donkeycar(tub)
    assert [str(w.message) for w in caught] == [
        f"Used all of the 6 images listed in '{tub}'. Numbers changed: steering clipped to"
        " [-1, 1]: 2 (first: line 2 of catalog_0.catalog)."
    ]
    np.testing.assert_array_equal(recording.episodes[0].numbers["steering"], [0, -1, 1, -1, 1, -1])
    assert recording.source["changed"] == {"steering clipped to [-1, 1]": 2}


def test_angles_on_another_scale_are_refused(tmp_path, make_tub):
    """In degrees most of a straight drive is below 1: what is left would be a wrong recording."""
    angles = [0.5] * 80 + [15.0] * 20
    tub = make_tub(tmp_path / "tub", [{"user/angle": angle} for angle in angles], images=False)
    with pytest.raises(ValueError, match=r"`steering` must be a fraction .* got 20 of 100 frames"):
        load_donkeycar(tub)


@pytest.mark.filterwarnings("ignore:Skipped:UserWarning")
@pytest.mark.parametrize(("num_outside", "num_frames"), [(2, 6), (3, 6), (5, 50), (6, 50)])
def test_a_few_angles_outside_are_no_other_scale(tmp_path, num_outside, num_frames, make_tub):
    """Two are always few, and so is a tenth."""
    angles = [7.0] * num_outside + [0.5] * (num_frames - num_outside)
    tub = make_tub(tmp_path / "tub", [{"user/angle": angle} for angle in angles])
    if num_outside in (2, 5):
        assert load_donkeycar(tub).num_skipped == num_outside
    else:
        with pytest.raises(ValueError, match=f"got {num_outside} of {num_frames} frames outside"):
            load_donkeycar(tub)


@pytest.mark.parametrize(
    "changes",
    [{"user/angle": float("nan")}, {"user/angle": 7.0}, {"cam/image_array": 3}],
)
@pytest.mark.parametrize("selection", ["deleted", "autopilot"])
def test_what_is_left_out_on_purpose_is_not_judged(tmp_path, changes, selection, make_tub):
    records = [{} for _ in range(8)]
    records[3] = changes | ({"user/mode": "local"} if selection == "autopilot" else {})
    tub = make_tub(tmp_path / "tub", records, deleted=[3] if selection == "deleted" else [])
    with pytest.warns(UserWarning, match="Skipped 1 of the 8"):
        recording = load_donkeycar(tub)
    reason = "deleted by the driver" if selection == "deleted" else "driven by an autopilot"
    assert (len(recording), recording.skipped) == (7, {reason: 1})


@pytest.mark.parametrize(
    ("change", "num_skipped"),
    [
        (lambda data: data + b'{"_index": 100, "_ses', 1),
        (lambda data: data + b"\0" * 4096, 1),
        (lambda data: data + b"7\n[]\nnull\n", 3),
        (lambda data: data + b"[" * 100_000, 1),
        (lambda data: b"\xef\xbb\xbf" + data, 0),
        (lambda data: data.decode().encode("utf-16"), 0),
        (lambda data: data.decode().encode("utf-16-le"), 0),
        (lambda data: data.decode().encode("utf-16-be"), 0),
        (lambda data: data.replace(b"\n", b"\r\n"), 0),
        (lambda data: data.replace(b"\n", b"\n\n"), 0),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipped:UserWarning")
def test_a_catalog_is_read_as_the_power_failure_or_the_editor_left_it(
    tmp_path, change, num_skipped, make_tub, lengths
):
    tub = make_tub(tmp_path / "tub", [{}] * 8)
    catalog = tub / "catalog_1.catalog"
    catalog.write_bytes(change(catalog.read_bytes()))
    recording = load_donkeycar(tub)
    assert (lengths(recording), recording.num_skipped) == ([8], num_skipped)


def test_a_missing_catalog_costs_its_own_records(tmp_path, make_tub):
    tub = make_tub(tmp_path / "tub", [{}] * 8)
    (tub / "catalog_1.catalog").unlink()
    with pytest.warns(UserWarning, match=r"catalog missing: 1 \(first: catalog_1.catalog\)"):
        assert len(load_donkeycar(tub)) == 4


def test_the_angle_may_be_called_steering(tmp_path, make_tub):
    tub = make_tub(tmp_path / "tub", [{"user/steering": 0.25}] * 4)
    for path in [*tub.glob("*.catalog"), tub / "manifest.json"]:
        text = path.read_text().replace('"user/angle": 0.0, ', "")
        path.write_text(text.replace('"user/angle"', '"user/steering"'))
    np.testing.assert_array_equal(load_donkeycar(tub).episodes[0].numbers["steering"], [-0.25] * 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]\n[]\n{}\n{}\n{}\n",
        '["cam/image_array", "user/angle"]\n["image_array", "float"]\n{}\n{}\n{}\n',
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"`manifest.json` must be the manifest of a Donkeycar"):
        load_donkeycar(tmp_path)


def test_tubs_without_usable_records(tmp_path, make_tub):
    tub = make_tub(tmp_path / "deleted", [{}] * 3, deleted=[0, 1, 2])
    with pytest.raises(
        ValueError, match=r"one record driven by the user, got none .*\(deleted by the driver: 3"
    ):
        load_donkeycar(tub)
    tub = make_tub(tmp_path / "no_images", [{}] * 3, images=False)
    with pytest.raises(
        ValueError, match=r"one usable image .* none among the 3 listed .*images'\.$"
    ):
        load_donkeycar(tub)
    tub = make_tub(tmp_path / "no_angles", [{"user/angle": None}] * 3)
    with pytest.raises(ValueError, match=r"got none among the 3 .* \(steering is no number: 3"):
        load_donkeycar(tub)


@pytest.mark.parametrize(
    "time",
    [
        lambda i: {"milliseconds": 50 * i},
        lambda i: {"timestamp": f"2019-03-06 21:04:{10 + i // 20:02d}.{i % 20 * 50_000:06d}"},
    ],
)
def test_a_tub_of_version_1(tmp_path, time, make_old_tub, store_of):
    angles = np.linspace(-1, 1, 25)  # record_10 comes after record_9, not after record_1
    tub = make_old_tub(tmp_path / "tub", [{"user/angle": angle} for angle in angles], time=time)
    (tub / "meta.json").write_text('{"inputs": ["cam/image_array"], "types": ["image_array"]}')
    (tub / "record_7.json").write_text((tub / "record_7.json").read_text()[:40])
    (tub / "exclude.json").write_text("[3]")
    (tub / "record_old.json").write_text("{}")  # none of the tub's
    (tub / "record_25.json").mkdir()
    for given in (tub, tub / "meta.json"):
        with pytest.warns(UserWarning, match="no whole JSON record: 1 .first: record_7.json"):
            recording = load_recording(given)
    assert recording.format == "donkeycar"
    (episode,) = recording.episodes
    assert episode.rows.tolist() == [i for i in range(25) if i not in (3, 7)]
    np.testing.assert_allclose(episode.numbers["steering"], -angles[episode.rows], atol=1e-7)
    np.testing.assert_allclose(np.diff(episode.time_s), np.diff(episode.rows) * 0.05, atol=1e-6)
    assert len(store_of(recording, tmp_path / "store")) == 23


def test_a_meta_file_of_unequal_lists_tells_no_field(tmp_path, make_old_tub):
    tub = make_old_tub(tmp_path / "tub", [{}] * 4)
    (tub / "meta.json").write_text('{"inputs": ["mirror", "x"], "types": ["image_array"]}')
    assert len(load_recording(tub).episodes[0]) == 4  # by the usual field, cam/image_array


def test_an_old_tub_without_time_is_taken_to_have_20_frames_a_second(tmp_path, make_old_tub):
    tub = make_old_tub(tmp_path / "tub", [{}] * 4, time=lambda i: {})
    with pytest.warns(
        UserWarning, match=r"time taken from 20 frames a second: 4 \(first: record_0"
    ):
        recording = load_recording(tub)
    np.testing.assert_allclose(recording.episodes[0].time_s, [0.0, 0.05, 0.1, 0.15])
    (tub / "record_2.json").write_text('{"milliseconds": 100, "cam/image_array": "2_.jpg"}')
    with pytest.raises(ValueError, match="record without a time: 3"):
        load_recording(tub)


def test_a_damaged_list_of_excluded_records_is_refused(tmp_path, make_old_tub):
    tub = make_old_tub(tmp_path / "tub", [{}] * 4)
    (tub / "exclude.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"`exclude.json` must be a list of deleted records"):
        load_recording(tub)


def test_times_in_seconds_instead_of_milliseconds_are_refused(tmp_path, make_tub):
    folder = make_tub(tmp_path / "tub", [{"_timestamp_ms": 1.6e9 + 0.05 * i} for i in range(6)])
    with pytest.raises(ValueError, match=r"at least 0\.5 ms apart, got 0\.05 ms .* unit of the"):
        load_donkeycar(folder)


def test_a_tubs_images_are_not_cropped_unless_asked(tmp_path, make_tub):
    folder = make_tub(tmp_path / "tub", [{}] * 4)
    assert load_donkeycar(folder).framing.crop == (0.0, 0.0)
    assert load_donkeycar(folder, crop=(0.25, 0.1)).framing.crop == (0.25, 0.1)
