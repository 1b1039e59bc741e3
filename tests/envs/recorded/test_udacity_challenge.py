"""Recordings of a real car: angles of the steering wheel beside images in a tar file or folders."""

import io
import tarfile

import cv2
import numpy as np
import pytest

from envs.recorded import load_challenge, load_recording

BEGIN_NS = 1_479_425_441_182_877_835
ANGLES = [0.1, -0.2, 0.0, 0.9]


def jpeg(brightness):
    _, data = cv2.imencode(".jpg", np.full((120, 160, 3), brightness, np.uint8))
    return data.tobytes()


@pytest.fixture
def make(tmp_path):
    """Write a recording with the images in a tar file, or in a folder."""

    def write(angles=ANGLES, *, in_tar=True, left_out=()):
        folder = tmp_path / "car"
        folder.mkdir()
        names = [f"{BEGIN_NS + i * 50_000_000}" for i in range(len(angles))]
        lines = ["frame_id,steering_angle,public"]
        lines += [f"Ch2_001/center/{n},{a},0" for n, a in zip(names, angles, strict=True)]
        (folder / "steering.csv").write_text("\n".join(lines))
        images = {f"center/{n}.jpg": jpeg(20 * i + 40) for i, n in enumerate(names)}
        images = {name: data for i, (name, data) in enumerate(images.items()) if i not in left_out}
        if in_tar:
            with tarfile.open(folder / "images.tar", "w") as tar:
                for name, data in images.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        else:
            (folder / "center").mkdir()
            for name, data in images.items():
                (folder / name).write_bytes(data)
        return folder

    return write


@pytest.mark.parametrize("in_tar", [True, False])
def test_angles_and_images_are_joined_by_their_time(make, tmp_path, store_of, in_tar):
    recording = load_recording(make(in_tar=in_tar))
    assert recording.format == "udacity_challenge"
    assert recording.action[0].unit == "rad of the steering wheel"
    store = store_of(recording, tmp_path / "store")
    np.testing.assert_allclose(store.actions[:, 0], ANGLES, atol=1e-7)  # left is positive there too
    np.testing.assert_allclose(store.dt_s, 0.05, atol=1e-6)
    brightness = store.observations.mean((1, 2, 3))
    np.testing.assert_allclose(brightness, [40, 60, 80, 100], atol=2)


def test_spaces_in_the_header_do_not_matter(make):
    log = make() / "steering.csv"
    log.write_text(log.read_text().replace("frame_id,steering_angle", "frame_id, steering_angle"))
    assert len(load_recording(log.parent)) == len(ANGLES)


def test_a_blank_line_is_no_frame(make):
    log = make() / "steering.csv"
    log.write_text(log.read_text().replace("\n", "\n\n", 1))
    recording = load_recording(log.parent)
    assert (len(recording), recording.skipped) == (len(ANGLES), {})
    log.write_text(log.read_text() + "\nCh2_001/center/x,0.1,0\n")
    with pytest.warns(UserWarning, match=r"frame without a time: 1 \(first: line 7\)"):
        load_recording(log.parent)


@pytest.mark.parametrize("angle", [1.5, -1.25])
def test_an_angle_out_of_its_range_is_told_as_it_stands_in_the_log(make, angle):
    told = rf"steering outside \[-1, 1\]: 1 \(first: {angle} in line 4\)"
    with pytest.warns(UserWarning, match=told):
        recording = load_recording(make([0.5, -0.25, angle, 0.25]))
    assert recording.episodes[0].numbers["steering"].tolist() == [0.5, -0.25, 0.25]


def test_angles_larger_than_a_radian_need_a_larger_scale(make):
    folder = make([2.0, -1.0, 1.5, 0.5, -1.2])
    with pytest.raises(ValueError, match="must be a fraction of the largest angle"):
        load_recording(folder)
    recording = load_recording(folder, options={"largest_angle_rad": 2.0})
    np.testing.assert_allclose(
        recording.episodes[0].numbers["steering"], [1.0, -0.5, 0.75, 0.25, -0.6]
    )
    assert recording.action[0].unit == "fraction of 2 rad of the steering wheel"
    with pytest.raises(ValueError, match="`largest_angle_rad` must be above 0"):
        load_challenge(folder, largest_angle_rad=0.0)


def test_frames_without_an_image_a_time_or_an_angle_are_left_out(make):
    folder = make([0.1] * 8, left_out=(2,))
    log = folder / "steering.csv"
    lines = log.read_text().splitlines()
    lines[5] = "Ch2_001/center/late,0.1,0"
    lines[6] = lines[6].replace("0.1", "left")
    log.write_text("\n".join(lines))
    with pytest.warns(UserWarning, match="Skipped 3 of the 8 images"):
        recording = load_recording(folder)
    assert dict(recording.skipped) == {
        "frame without a time": 1,
        "steering is no number": 1,
        "center image missing": 1,
    }
    assert len(recording) == 5


def test_a_tar_that_was_cut_off_gives_the_images_before(make):
    folder = make([0.1] * 8)
    archive = folder / "images.tar"
    archive.write_bytes(archive.read_bytes()[:6000])
    with pytest.warns(UserWarning, match="center image"):
        recording = load_recording(folder)
    assert 0 < len(recording) < 8


def test_another_steering_csv_is_not_taken_for_one(tmp_path):
    (tmp_path / "steering.csv").write_text("time,angle\n0,0.1\n")
    with pytest.raises(ValueError, match="with none of them"):
        load_recording(tmp_path)
