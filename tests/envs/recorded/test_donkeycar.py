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


def test_deleted_records_and_autopilots_are_left_out(tmp_path, make_tub):
    records = [{} for _ in range(14)]
    records[12] = {"user/mode": "local"}
    recording = load_donkeycar(make_tub(tmp_path / "tub", records, deleted=[1, 4, 5, 6, 7]))
    # One deleted record is bridged, four in a row are not.
    assert [episode.rows.tolist() for episode in recording.episodes] == [
        [0, 2, 3],
        [8, 9, 10, 11, 13],
    ]


def test_a_session_begins_an_episode(tmp_path, make_tub, lengths):
    records = [{"_session_id": "a"}] * 3 + [{"_session_id": "b"}] * 2
    assert lengths(load_donkeycar(make_tub(tmp_path / "tub", records))) == [3, 2]


def test_damaged_tubs_are_named(tmp_path, make_tub):
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold a manifest.json"):
        load_donkeycar(tmp_path)
    tub = make_tub(tmp_path / "tub", [{}] * 4)
    good = (tub / "catalog_1.catalog").read_text()
    for line, match in (
        ('{"_index": 3, "_ses', r"must have one complete JSON record a line, got '{\"_index\": 3"),
        ("{}", "must have one complete JSON record a line, got '{}'"),
        ("7", "must have one complete JSON record a line, got '7'"),
        (good.splitlines()[0].replace("0.0", "NaN"), "`steering` must be .* got nan in line 3 of"),
        (good.splitlines()[0].replace("0.0", "null"), "`steering` must be .* got None in line 3"),
    ):
        (tub / "catalog_1.catalog").write_text(good + line + "\n")
        with pytest.raises(ValueError, match=match):
            load_donkeycar(tub)
    (tub / "catalog_1.catalog").unlink()
    with pytest.raises(FileNotFoundError, match=r"`catalog_1.catalog` must lie in the tub"):
        load_donkeycar(tub)


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
    with pytest.raises(ValueError, match="at least one record driven by the user, got none"):
        load_donkeycar(tub)
    tub = make_tub(tmp_path / "no_images", [{}] * 3, images=False)
    with pytest.raises(ValueError, match=r"at least one readable image .* none of the 3 listed"):
        load_donkeycar(tub)
