"""Images from Python code in every range and number of channels: right, or an error that helps."""

import numpy as np
import pytest
from PIL import Image

from frcnn.data.image_arrays import each, to_rgb
from frcnn.errors import DataError

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype("uint8")
PHOTO[0, 0] = (0, 128, 255)
GREY = PHOTO[..., 0]


@pytest.mark.parametrize(
    "image",
    [
        PHOTO,
        PHOTO / 255.0,
        (PHOTO / 255.0).astype("float32"),
        PHOTO.astype("uint16"),
        PHOTO.astype("uint16") * 257,
        PHOTO.astype("int64"),
        PHOTO.astype("float64"),
        np.dstack([PHOTO, np.full_like(GREY, 7)]),
        np.dstack([PHOTO, GREY]) / 255.0,
        Image.fromarray(PHOTO),
        Image.fromarray(np.dstack([PHOTO, GREY])),
    ],
    ids=lambda image: f"{getattr(image, 'dtype', 'pillow')}",
)
def test_the_same_photo_in_any_form_is_the_same_image(image):
    pixels = to_rgb(image)
    assert pixels.shape == (40, 60, 3) and pixels.dtype in ("uint8", "float32")
    np.testing.assert_allclose(pixels, PHOTO, atol=1e-3)


@pytest.mark.parametrize("image", [GREY, GREY[..., None], GREY / 255.0, Image.fromarray(GREY)])
def test_grey_is_rgb_of_equal_numbers(image):
    np.testing.assert_allclose(to_rgb(image), np.repeat(GREY[..., None], 3, axis=2), atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_black_is_an_image(dtype):
    assert (to_rgb(np.zeros((4, 6, 3), dtype)) == 0).all()


@pytest.mark.parametrize(
    "image, says",
    [
        (PHOTO.astype("int16") - 200, "int16 numbers from -200 to 55; 0 to 255 are wanted"),
        (PHOTO / 127.5 - 1.0, r"float64 numbers from -1 to 1; .*: of -1 to 1, 127.5 \* \(image \+ 1\)"),
        (PHOTO.astype("float32") * 2, "float32 numbers from 0 to 510;"),
        (PHOTO.astype("uint16") * 8, "uint16 numbers from 0 to 2040; .*: of 12 bits, image / 16"),
        (np.where(PHOTO == 0, np.nan, PHOTO), "holds numbers that are not finite"),
        (np.where(PHOTO == 0, np.inf, PHOTO), "holds numbers that are not finite"),
        (PHOTO.transpose(2, 0, 1), r"\(3, 40, 60\), channels first; .* image.transpose\(1, 2, 0\)"),
        (PHOTO[None], r"must be an \(H, W, 3\) array .*; it is uint8 \(1, 40, 60, 3\)"),
        (np.zeros(40, "uint8"), r"it is uint8 \(40,\)"),
        (np.zeros((40, 60, 2), "uint8"), r"it is uint8 \(40, 60, 2\)"),
        (np.zeros((0, 60, 3), "uint8"), r"it is uint8 \(0, 60, 3\)"),
        (np.zeros((40, 60, 3), complex), "it is complex128"),
        (np.zeros((40, 60), bool), "it is bool"),
        (None, "it is object"),
        (Image.new("F", (60, 40)), "a Pillow image of mode F, of unknown range"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_way_out(image, says):
    with pytest.raises(DataError, match=f"image 3 .*{says}"):
        to_rgb(image, 3)


def test_each_takes_one_image_many_or_a_batch(tmp_path):
    for one in (PHOTO, str(tmp_path), tmp_path, Image.fromarray(PHOTO)):
        assert len(list(each(one))) == 1
    for many in ([PHOTO, "a.jpg"], (PHOTO, PHOTO), np.stack([PHOTO, PHOTO]), iter([PHOTO, PHOTO])):
        assert len(list(each(many))) == 2


def test_a_batch_has_one_range():
    """A dark image of a bright batch from 0 to 255 is not taken for one from 0 to 1."""
    dark, bright = each(np.stack([np.full((4, 6, 3), grey, "float32") for grey in (0.5, 200)]))
    assert (to_rgb(bright) == 200).all()
