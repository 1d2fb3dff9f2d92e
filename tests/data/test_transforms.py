"""From the file to the network input: image and boxes stay together."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from frcnn.config.schema import DataConfig
from frcnn.data import transforms
from frcnn.errors import DataError


def marked(width, height, *box):
    """Return a black image with one white box, and that box as (1, 4)."""
    image = np.zeros((height, width, 3), "uint8")
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image, np.array([box], "float32")


def white(image):
    """Return the (1, 4) hull of an image's white pixels."""
    y, x = np.nonzero(image[..., 0] > 127)
    return np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], "float32")


# Reading.


def test_an_image_comes_as_rgb(tmp_path):
    Image.new("RGB", (3, 2), (200, 100, 50)).save(tmp_path / "a.png")
    image = transforms.load(str(tmp_path / "a.png"))
    assert image.shape == (2, 3, 3) and image.dtype == "uint8"
    assert (image == (200, 100, 50)).all()


# The halves of a picture: orange and blue, or as grey as they are bright.
ORANGE, BLUE = (204, 102, 0), (0, 51, 153)
HALVES = np.repeat(np.array([[ORANGE, BLUE]], "uint8"), 16, axis=1).repeat(24, axis=0)
GREY = HALVES[..., 0]


def kinds():
    """Return {name of a file: how to write it, its tolerance} for every kind of image."""
    picture, grey = Image.fromarray(HALVES), Image.fromarray(GREY)
    alpha = np.dstack([HALVES, np.full(GREY.shape, 128, "uint8")])
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "rgb.png": (picture.save, 0),
        "rgb.jpg": (lambda path: picture.save(path, quality=95, subsampling=0), 4),
        "rgb.bmp": (picture.save, 0),
        "rgb.webp": (lambda path: picture.save(path, lossless=True), 0),
        "rgb.tif": (picture.save, 0),
        "palette.png": (palette.save, 0),
        "palette.bmp": (palette.save, 0),
        "palette_transparent.png": (lambda path: palette.save(path, transparency=0), 0),
        "cmyk.jpg": (lambda path: picture.convert("CMYK").save(path, quality=95), 4),
        "cmyk.tif": (picture.convert("CMYK").save, 0),
        "rgba.png": (Image.fromarray(alpha).save, 0),
        "rgba.webp": (lambda path: Image.fromarray(alpha).save(path, lossless=True), 0),
        "16bit.png": (lambda path: cv2.imwrite(path, HALVES[..., ::-1].astype("uint16") * 257), 0),
        "16bit_rgba.png": (
            lambda path: cv2.imwrite(path, alpha[..., [2, 1, 0, 3]].astype("uint16") * 257),
            0,
        ),
        "16bit_grey.png": (lambda path: cv2.imwrite(path, GREY.astype("uint16") * 257), 0),
        "16bit_grey.tif": (lambda path: cv2.imwrite(path, GREY.astype("uint16") * 257), 0),
        "grey.png": (grey.save, 0),
        "grey.jpg": (grey.save, 1),
        "grey_alpha.png": (grey.convert("LA").save, 0),
    }


@pytest.mark.parametrize("name", kinds())
def test_any_kind_of_picture_comes_as_rgb_of_8_bits(tmp_path, name):
    write, tolerance = kinds()[name]
    write(str(tmp_path / name))
    image = transforms.load(str(tmp_path / name))
    assert image.shape == (24, 32, 3) and image.dtype == "uint8"
    expected = np.dstack([GREY] * 3) if "grey" in name else HALVES
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=tolerance)


def with_alpha(kind, extra_samples=2, **options):
    """Return the bytes of HALVES fading out; a TIFF has ExtraSamples: 1 is premultiplied, 2 is not."""
    ramp = np.tile(np.linspace(0, 255, 32).astype("uint8"), (24, 1))
    file = io.BytesIO()
    Image.fromarray(np.dstack([HALVES, ramp])).save(file, kind, **options)
    content = bytearray(file.getvalue())
    if kind == "TIFF":
        tag = content.index(struct.pack("<HHI", 338, 3, 1)) + 8
        content[tag : tag + 2] = struct.pack("<H", extra_samples)
    return bytes(content)


def saved(mode, kind, **options):
    """Return the bytes of coloured noise in one of Pillow's modes and formats."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), "uint8")
    Image.fromarray(noise).convert(mode).save(file, kind, **options)
    return file.getvalue()


LIKE_PILLOWS = {
    "rgba.tif": with_alpha("TIFF"),
    "rgba_lzw.tif": with_alpha("TIFF", compression="tiff_lzw"),
    "rgba_premultiplied.tif": with_alpha("TIFF", extra_samples=1),
    "rgba_unspecified.tif": with_alpha("TIFF", extra_samples=0),
    "rgba.png": with_alpha("PNG"),
    "rgba.webp": with_alpha("WEBP", lossless=True, exact=True),
    "la.tif": saved("LA", "TIFF"),
    "la.png": saved("LA", "PNG"),
    "lab.tif": saved("LAB", "TIFF"),
    "ycbcr.tif": saved("YCbCr", "TIFF"),
    "cmyk.tif": saved("CMYK", "TIFF"),
    "cmyk.jpg": saved("CMYK", "JPEG"),
    "jpeg.tif": saved("RGB", "TIFF", compression="jpeg"),
    "palette.tif": saved("P", "TIFF"),
    "palette_transparent.png": saved("P", "PNG", transparency=bytes(range(0, 250, 5))),
    "white.tif": saved("L", "TIFF", tiffinfo={262: 0}),
    "bits.tif": saved("1", "TIFF"),
    "rgb.jpg": saved("RGB", "JPEG"),
    "rgb_as_rgb.jpg": saved("RGB", "JPEG", keep_rgb=True),
    "progressive.jpg": saved("RGB", "JPEG", progressive=True),
    "transparent_colour.png": saved("RGB", "PNG", transparency=(1, 2, 3)),
    "16bit.png": cv2.imencode(".png", np.arange(24 * 32 * 3, dtype="uint16").reshape(24, 32, 3) * 28)[1],
    "16bit.tif": cv2.imencode(".tif", np.arange(24 * 32 * 3, dtype="uint16").reshape(24, 32, 3) * 28)[1],
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", LIKE_PILLOWS)
def test_pixels_are_those_that_pillow_has(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(LIKE_PILLOWS[name])
    with Image.open(path) as image:
        np.testing.assert_array_equal(transforms.load(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_grey_of_16_bits_becomes_its_upper_8_where_pillow_cuts_it_off(tmp_path, order):
    levels = (np.arange(24 * 32, dtype="uint16").reshape(24, 32) * 85).astype(order)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(transforms.load(tmp_path / "a.tif"), np.dstack([levels >> 8] * 3))


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_levels_whose_range_nobody_knows_are_refused(tmp_path, dtype):
    Image.fromarray(np.ones((24, 32), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="a.tif cannot be decoded: .* of a rare kind"):
        transforms.load(tmp_path / "a.tif")


def test_black_and_white_comes_as_rgb(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    expected = np.where(GREY > 100, 255, 0)
    np.testing.assert_array_equal(transforms.load(tmp_path / "a.png"), np.dstack([expected] * 3))


def test_a_png_named_jpg_is_an_image(tmp_path):
    Image.fromarray(HALVES).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(transforms.load(tmp_path / "a.jpg"), HALVES)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_come_upright(tmp_path, orientation, suffix):
    """Pillow's own way of turning images says what upright is."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 3), "uint8").repeat(16, 0).repeat(16, 1)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_allclose(transforms.load(path).astype(int), expected.astype(int), atol=2)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0nonsense", b"\xff" * 40])
def test_nonsense_in_exif_turns_nothing(tmp_path, exif):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert transforms.load(tmp_path / "a.jpg").shape == (20, 30, 3)


def test_what_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    for name in ("a.jpg", "missing.jpg"):
        with pytest.raises(DataError, match=str(tmp_path / name)):
            transforms.load(str(tmp_path / name))


# Resizing. Ren et al. 2015, section 3.3: the short side to 600, the long side at most 1000.


NO_BOXES = np.zeros((0, 4), "float32")


@pytest.mark.parametrize(
    "size, resized",
    [
        ((500, 375), (800, 600)),
        ((375, 500), (600, 800)),
        ((1600, 1200), (800, 600)),
        ((1000, 400), (1000, 400)),
        ((2000, 400), (1000, 200)),
        ((100, 900), (111, 1000)),
        ((5000, 1), (1000, 1)),
    ],
)
def test_the_short_side_decides_unless_the_long_one_gets_too_long(size, resized):
    image, boxes = transforms.resize(
        np.zeros((size[1], size[0], 3), "uint8"), NO_BOXES, DataConfig(short_side=600, long_side=1000)
    )
    assert (image.shape[1], image.shape[0]) == resized
    assert boxes.shape == (0, 4)


@pytest.mark.parametrize("size", [(40, 30), (160, 120), (97, 61), (61, 97)])
def test_boxes_are_resized_with_the_image(size):
    width, height = size
    whole = (0, 0, width, height)
    part = (width // 4, height // 5, width // 2, height // 2)
    image, box = marked(width, height, *part)
    both = np.concatenate([box, [whole]]).astype("float32")
    resized, boxes = transforms.resize(image, both, DataConfig(short_side=80, long_side=120))
    assert boxes.dtype == "float32"
    # The whole image stays the whole image, to the pixel, on both axes.
    np.testing.assert_allclose(boxes[1], [0, 0, resized.shape[1], resized.shape[0]], rtol=1e-6)
    np.testing.assert_allclose(boxes[:1], white(resized), atol=1.0)


def test_sizes_are_rounded_to_the_nearest_pixel_or_down():
    # 77 x 64 by 80 / 64 is 96.25 x 80; 75 x 64 is 93.75 x 80; 200 x 111 by 120 / 200 is 120 x 66.6.
    for size, nearest, down in [
        ((77, 64), (96, 80), (96, 80)),
        ((75, 64), (94, 80), (93, 80)),
        ((200, 111), (120, 67), (120, 66)),
    ]:
        for rounding, expected in (("nearest", nearest), ("down", down)):
            config = DataConfig(short_side=80, long_side=120, size_rounding=rounding)
            image = np.zeros((size[1], size[0], 3), "uint8")
            whole = np.array([[0, 0, *size]], "float32")
            resized, boxes = transforms.resize(image, whole, config)
            assert (resized.shape[1], resized.shape[0]) == expected
            # Boxes follow what became of the image, not what was asked for.
            np.testing.assert_allclose(boxes, [[0, 0, *expected]], rtol=1e-6)


def test_shrinking_averages_or_samples():
    """Stripes of 0 and 200, two pixels wide, to a quarter: their mean, or what lies in the middle."""
    image = np.zeros((16, 16, 3), "uint8")
    image[:, 2::4] = image[:, 3::4] = 200
    config = DataConfig(short_side=4, long_side=4)
    area, _ = transforms.resize(image, NO_BOXES, config)
    np.testing.assert_array_equal(area, np.full((4, 4, 3), 100))
    image[:, 1::4] = 40
    # The middle of four pixels lies between the second and the third: (40 + 200) / 2.
    config = DataConfig(short_side=4, long_side=4, interpolation="bilinear")
    bilinear, _ = transforms.resize(image, NO_BOXES, config)
    np.testing.assert_array_equal(bilinear, np.full((4, 4, 3), 120))


@pytest.mark.parametrize("width, height", [(64, 48), (65, 47)])
def test_a_jpeg_at_half_its_size_is_nearly_the_mean_of_its_pixels(tmp_path, width, height):
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * 3, columns * 2, rows + columns], axis=-1).astype("uint8")
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    half = transforms.load(tmp_path / "a.jpg", half=True)
    assert half.shape == (-(-height // 2), -(-width // 2), 3)
    whole = transforms.load(tmp_path / "a.jpg")
    assert whole.shape == smooth.shape
    config = DataConfig(short_side=20, long_side=100)
    boxes = np.array([[10, 20, 30, 40]], "float32")
    expected, expected_boxes = transforms.resize(whole, boxes, config)
    found, found_boxes = transforms.resize(half, boxes, config, (width, height))
    np.testing.assert_array_equal(found_boxes, expected_boxes)
    assert np.abs(found.astype(int) - expected).mean() < 1.5
    # Another kind of file comes whole.
    cv2.imwrite(str(tmp_path / "a.png"), smooth[..., ::-1])
    np.testing.assert_array_equal(transforms.load(tmp_path / "a.png", half=True), smooth)


@pytest.mark.parametrize("interpolation", ["area", "bilinear"])
def test_enlarging_is_bilinear_either_way(interpolation):
    image = np.zeros((2, 2, 3), "uint8")
    image[:, 1] = 100
    config = DataConfig(short_side=4, long_side=4, interpolation=interpolation)
    resized, _ = transforms.resize(image, NO_BOXES, config)
    np.testing.assert_array_equal(resized[0, :, 0], [0, 25, 75, 100])


def test_fractions_are_kept_unless_levels_are_whole():
    image = np.zeros((2, 2, 3), "uint8")
    image[:, 1] = 10
    kept, _ = transforms.resize(
        image, NO_BOXES, DataConfig(short_side=4, long_side=4, uint8_images=False)
    )
    assert kept.dtype == "float32"
    np.testing.assert_allclose(kept[0, :, 0], [0, 2.5, 7.5, 10])
    whole, _ = transforms.resize(image, NO_BOXES, DataConfig(short_side=4, long_side=4))
    assert whole.dtype == "uint8" and np.abs(whole - kept).max() == 0.5


# Mirroring.


def test_mirroring_takes_the_boxes_along():
    image, boxes = marked(10, 6, 1, 2, 4, 5)
    mirrored, new = transforms.flip(image, boxes)
    np.testing.assert_array_equal(new, [[6, 2, 9, 5]])
    np.testing.assert_array_equal(new, white(mirrored))
    back, old = transforms.flip(mirrored, new)
    np.testing.assert_array_equal(back, image)
    np.testing.assert_array_equal(old, boxes)


def test_mirroring_does_without_boxes_and_leaves_its_input_alone():
    image, _ = marked(4, 2, 0, 0, 1, 1)
    before = image.copy()
    mirrored, boxes = transforms.flip(image, np.zeros((0, 4), "float32"))
    assert boxes.shape == (0, 4) and mirrored[0, 3, 0] == 255
    np.testing.assert_array_equal(image, before)
    cv2.resize(mirrored, (2, 2))  # wants contiguous memory


# Padding.


def test_images_are_padded_at_the_right_and_below_to_the_multiple():
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, shape).astype("uint8") for shape in ((17, 30, 3), (12, 33, 3))]
    padded = transforms.pad(images, 16)
    assert padded.shape == (2, 32, 48, 3) and padded.dtype == "uint8"
    for row, image in zip(padded, images):
        height, width = image.shape[:2]
        np.testing.assert_array_equal(row[:height, :width], image)
        assert (row[height:] == np.rint(transforms.PADDING_RGB)).all()
        assert (row[:, width:] == np.rint(transforms.PADDING_RGB)).all()


def test_an_image_that_fits_is_not_padded():
    assert transforms.pad([np.zeros((32, 48, 3), "uint8")], 16).shape == (1, 32, 48, 3)


def test_float_images_are_padded_with_the_mean_itself():
    padded = transforms.pad([np.zeros((8, 8, 3), "float32"), np.ones((4, 16, 3), "float32")], 8)
    assert padded.shape == (2, 8, 16, 3) and padded.dtype == "float32"
    np.testing.assert_allclose(padded[0, :, 8:], np.broadcast_to(transforms.PADDING_RGB, (8, 8, 3)))
    np.testing.assert_array_equal(padded[1, :4], 1)
