"""The section ``augment``: random changes of training images. All are off by default."""

from __future__ import annotations

from frcnn.config.fields import Factor, Section, Side, setting
from frcnn.config.values import List, Number, Whole


class AugmentConfig(Section):
    """Random changes of training images, in the order of this table; data.flip comes after `crop`."""

    short_sides: List[Side] = setting(
        (),
        "short sides in pixels; each image gets one of them at random; empty: data.short_side",
        max_length=64,
    )
    scale_jitter: List[Factor] = setting(
        (),
        "LOW,HIGH: scale the objects by a random factor between them; the image keeps its size; "
        "empty: off",
        max_length=2,
    )
    crop: Number = setting(
        0.0, "probability of a random crop with at least a part of an object in it", ge=0, le=1
    )
    vertical_flip: Number = setting(0.0, "probability of a vertical flip", ge=0, le=1)
    rotation: Number = setting(0.0, "largest angle of a random rotation, degrees", ge=0, le=180)
    shear: Number = setting(0.0, "largest angle of a random shear of each axis, degrees", ge=0, le=40)
    mosaic: Number = setting(0.0, "probability that an image is made from four images", ge=0, le=1)
    colour: Number = setting(
        0.0,
        "brightness, contrast and saturation are multiplied by random factors from 1 - this to 1 + "
        "this; "
        "the hue changes by up to a tenth of this, as a share of the colour circle",
        ge=0,
        le=1,
    )
    blur: Number = setting(0.0, "largest sigma of a Gaussian blur, pixels", ge=0, le=100)
    jpeg_quality: Whole = setting(
        0, "compress images as JPEG with a random quality from this to 100; 0: off", ge=0, le=100
    )

    @property
    def is_active(self) -> bool:
        """Whether any of the settings differs from its default."""
        return self != AugmentConfig()
