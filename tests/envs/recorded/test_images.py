"""Whole images are told from damaged ones, and nothing but a fault or an image comes out."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from envs.recorded.images import find_fault, is_readable, read_image

NOISE = np.random.default_rng(0).integers(0, 255, (61, 83, 3), np.uint8)
END = b"\xff\xd9"


def encode(image=NOISE, kind="JPEG", **settings):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **settings)
    return file.getvalue()


def start_of_picture(jpeg):
    return jpeg.find(b"\xff\xda") + 14


def resized(jpeg, height, width):
    """Write another size into the header."""
    data = bytearray(jpeg)
    place = data.find(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def cut_png():
    """Return a PNG with half of its pixels, every chunk of which is right by itself."""
    png = encode(kind="PNG")
    place = png.find(b"IDAT")
    (length,) = struct.unpack(">I", png[place - 4 : place])
    chunk = b"IDAT" + png[place + 4 : place + 4 + length // 2]
    end = png[-12:]
    header = png[: place - 4] + struct.pack(">I", len(chunk) - 4)
    return header + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


@pytest.fixture
def check(tmp_path):
    """Write a file; return what is wrong with it, after reading it too."""

    def check(data, name="image.jpg"):
        path = tmp_path / name
        path.write_bytes(data)
        fault = find_fault(path)
        image = read_image(path)
        assert is_readable(path) == (fault is None) == (image is not None)
        assert image is None or (image.dtype == np.uint8 and image.shape[2] == 3)
        return fault

    return check


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("image", [NOISE, NOISE[..., 0], NOISE[:16, :16]])
def test_whole_images_are_read(check, kind, image):
    assert check(encode(image, kind)) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"quality": 100, "subsampling": 0},
        {"subsampling": 2},
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"optimize": True},
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_a_whole_jpeg_may_be_as_grey_as_lost_data(check, settings, grey):
    image = np.full_like(NOISE, 128) if grey else NOISE.copy()
    image[-16:, -24:] = 128
    data = encode(image, **settings)
    assert check(data) is None
    assert check(data + b"camera model") is None


@pytest.mark.parametrize(
    "settings", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}]
)
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("end", [b"", END, END + b"camera model"])
def test_a_jpeg_that_was_cut_off_is_refused_with_and_without_an_end_marker(
    check, settings, share, end, capfd
):
    data = encode(**settings)
    start = start_of_picture(data)
    cut = data[: start + int(share * (len(data) - start))].rstrip(b"\xff")
    assert check(cut + end) in ("cut off", "unreadable")
    capfd.readouterr()  # libjpeg complains aloud


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_camera_held_in_any_way_hides_no_loss(check, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(exif=exif)
    assert check(data) is None
    assert check(data[: len(data) * 3 // 4] + END) == "cut off"


def test_a_png_that_was_cut_off_or_changed_is_refused(check):
    data = encode(kind="PNG")
    middle = len(data) // 2
    assert check(data[:middle]) is not None
    assert check(data[:middle] + data[-12:]) is not None
    assert check(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]) is not None
    assert check(cut_png()) is not None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1, 1), (4, 160), (160, 4), (15, 16), (16, 15)])
def test_placeholders_are_refused(check, kind, size):
    assert check(encode(NOISE[:1, :1].repeat(size[0], 0).repeat(size[1], 1), kind)) == (
        "smaller than 16 x 16 pixels"
    )


@pytest.mark.parametrize("size", [(33_000, 33_000), (65_000, 1_000), (9_000, 10_000), (6000, 6000)])
def test_what_a_header_claims_takes_no_memory(check, size):
    tracemalloc.start()
    assert check(resized(encode(), *size)) == "larger than 33.6 million pixels"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_what_is_no_image_is_named(check, tmp_path):
    assert check(b"") == "empty"
    assert check(b"\0" * 9000) == "unreadable"
    assert check(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n") == "unreadable"
    assert find_fault(tmp_path / "nowhere.jpg") == "missing"
    assert find_fault(tmp_path) == "missing"
    assert find_fault(tmp_path / "a\0b") == "missing"
    assert find_fault(tmp_path / ("a" * 5000)) == "unreadable"


def test_a_file_too_large_for_an_image_is_not_read(tmp_path):
    with (tmp_path / "film").open("wb") as file:
        file.truncate(2**27 + 1)  # a hole: takes no space
    assert find_fault(tmp_path / "film") == "larger than 128 MiB"


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_damage_of_any_kind_ends_in_a_fault_or_an_image(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "BMP", "WEBP"]))
    image = bytearray(encode(NOISE[:24, :32], kind))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(image) - 1))
        image[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.mktemp("damage") / "image"
    path.write_bytes(image)
    fault = find_fault(path)
    if fault is None:
        assert read_image(path) is not None


def test_a_colour_image_is_read_as_opencv_reads_it(tmp_path):
    """The numbers of a training depend on every pixel."""
    path = tmp_path / "image.jpg"
    path.write_bytes(encode())
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])
