"""Run a detector that frcnn export wrote as SavedModel: python run_saved_model.py FOLDER photo.jpg

Needs numpy, pillow and tensorflow only.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps


def network_input(path, about):
    """Return the file's inputs, a dict, and the factors of x and y from photo to input."""
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if about["resizes"]:  # made with --resize
        return {"images": np.asarray(photo, about["dtype"])[None]}, np.ones(4)
    short, long = sorted(photo.size)
    scale = min(about["short_side"] / short, about["long_side"] / long)
    if about["height"]:  # a fixed input
        scale = min(scale, about["height"] / photo.height, about["width"] / photo.width)
    width, height = (max(1, int(side * scale)) for side in photo.size)
    multiple = about["size_multiple"]
    rows, columns = (-(-side // multiple) * multiple for side in (height, width))
    shape = (about["height"] or rows, about["width"] or columns, 3)
    images = np.broadcast_to(np.rint(about["padding"]), shape).astype(about["dtype"])
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    images[:height, :width] = photo.resize((width, height), resample)
    factors = np.array([width / photo.width, height / photo.height] * 2)
    return {"images": images[None], "image_sizes": np.array([[height, width]], "float32")}, factors


if __name__ == "__main__":
    about = json.loads(pathlib.Path(sys.argv[1], "assets.extra", "frcnn.json").read_text())
    inputs, factors = network_input(sys.argv[2], about)
    model = tf.saved_model.load(sys.argv[1])
    run = model.signatures["serving_default"]
    found = run(**{name: tf.constant(value) for name, value in inputs.items()})
    found = {name: value[0].numpy() for name, value in found.items()}
    rows = zip(found["boxes"], found["scores"], found["labels"])
    for box, score, label in list(rows)[: found["num_detections"]]:
        print(f"{about['classes'][label]} {score:.3f} {[round(float(x), 1) for x in box / factors]}")
