"""Make a synthetic VOC data set: circles, squares and triangles on a cluttered background.

It needs no download, trains on a CPU in minutes, and is read like real data. Its boxes are exact: a box
is the bounding box of the visible pixels of an object, as in VOC.

- Outlines are antialiased by signed distances: a shape covers a pixel by the distance of the pixel's
  centre from the outline plus one half, clipped to [0, 1]. A pixel belongs to the shape where this is at
  least one half.
- Each image has its own random generator, seeded by the seed, the split and the image's number. So an
  image does not depend on the number of images.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from frcnn.errors import DataError

CLASSES = ("circle", "square", "triangle")
SPLITS = {"train": 600, "val": 100}
SETTINGS_FILE = "shapes.json"
# Files and folders of other data sets. Shapes are not made in a folder that holds one of them.
OTHER_DATA = ("Annotations", "JPEGImages", "ImageSets", "VOC2007", "VOC2012", "annotations", "images")
VERSION = 1  # increased when the same settings give other images

SIZES = (26.0, 92.0)  # diameter of a shape's circumscribed circle, pixels
MIN_VISIBLE = 0.6  # fraction of each object that stays visible behind the others
MIN_CONTRAST = 90.0  # RGB distance from any pixel nearby, out of 441


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One image and its objects.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        owner: (H, W) int: index of the object that each pixel shows, -1 for background.
        labels: (G,) int, indices into ``CLASSES``; G is 1 to 6.
        boxes: (G, 4) int, half-open pixels: bounding box of each object's visible pixels.
    """

    image: np.ndarray
    owner: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw an image with 1 to 6 shapes, 192x144 to 256x192 pixels, one in four of portrait format.

    Args:
        rng: source of all randomness.

    Returns:
        The scene. No shape is cut off by the border.
    """
    width, height = int(rng.integers(192, 257)), int(rng.integers(144, 193))
    if rng.random() < 0.25:
        width, height = height, width
    image = _background(rng, width, height)
    owner = np.full((height, width), -1)
    areas: list[int] = []
    labels: list[int] = []
    wanted = rng.integers(1, 7)
    for _ in range(40):  # positions tried; a full image gets fewer shapes
        if len(labels) == wanted:
            break
        label = int(rng.integers(len(CLASSES)))
        share = coverage(_outline(rng, label, width, height), width, height)
        mask = share >= 0.5
        left = np.array([np.sum((owner == i) & ~mask) for i in range(len(labels))])
        if np.any(left < MIN_VISIBLE * np.array(areas)):
            continue
        _paint(rng, image, share)
        owner[mask] = len(labels)
        areas.append(int(mask.sum()))
        labels.append(label)
    image += rng.normal(0.0, rng.uniform(1.0, 6.0), image.shape)
    boxes = np.array([bounding_box(owner == i) for i in range(len(labels))])
    return Scene(image.clip(0, 255).astype(np.uint8), owner, np.array(labels), boxes)


def scene_rng(seed: int, split: str, number: int) -> np.random.Generator:
    """Return the random generator of one image of a data set, for ``draw_scene``."""
    return np.random.default_rng([seed, zlib.crc32(split.encode()), number])


def coverage(outline: np.ndarray | tuple[np.ndarray, float], width: int, height: int) -> np.ndarray:
    """Return the fraction of each pixel that a shape covers.

    Args:
        outline: ``(centre, radius)`` of a circle, or the (K, 2) corners of a convex polygon, clockwise
            as seen; pixels, from the image's top left corner.
        width, height: of the image, pixels.

    Returns:
        (H, W) float in [0, 1]; at least 0.5 where the pixel's centre lies within the outline.
    """
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    if isinstance(outline, tuple):
        (centre_x, centre_y), radius = outline
        inside = radius - np.hypot(x - centre_x, y - centre_y)
    else:
        inside = np.inf
        for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            along_x, along_y = (end - start) / np.linalg.norm(end - start)
            distance = (y - start[1]) * along_x - (x - start[0]) * along_y
            inside = np.minimum(inside, distance)
    return np.clip(inside + 0.5, 0.0, 1.0)


def bounding_box(mask: np.ndarray) -> list[int]:
    """Return ``[x1, y1, x2, y2]``, half-open, the smallest box around the true pixels of a mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def _outline(
    rng: np.random.Generator, label: int, width: int, height: int
) -> np.ndarray | tuple[np.ndarray, float]:
    """Return the outline of a shape at a random position, as ``coverage`` takes it."""
    low, high = np.log(SIZES)
    radius = 0.5 * np.exp(rng.uniform(low, high))  # uniform in the logarithm
    centre = rng.uniform([radius, radius], [width - radius, height - radius])
    if CLASSES[label] == "circle":
        return centre, radius
    corners = 4 if CLASSES[label] == "square" else 3
    angles = rng.uniform(0.0, 2.0 * np.pi) + np.arange(corners) * 2.0 * np.pi / corners
    if corners == 3:
        angles = angles + rng.uniform(-0.3, 0.3, corners)  # not all equilateral
    return centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return an (H, W, 3) float image without objects: gradient, blotches, strokes."""
    middle = rng.uniform(40.0, 215.0, 3)
    slope = rng.uniform(-35.0, 35.0, (2, 3))
    y, x = np.mgrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
    image = middle + x[..., None] * slope[0] + y[..., None] * slope[1]
    blotches = rng.normal(0.0, rng.uniform(2.0, 14.0), (6, 8, 3))
    image += cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    # Strokes are thin and open, so that none looks like a shape's outline.
    for _ in range(rng.integers(2, 9)):
        turns = rng.normal(rng.uniform(-0.12, 0.12), 0.1, rng.integers(3, 12)).cumsum()
        angles = rng.uniform(0.0, 2.0 * np.pi) + turns
        steps = rng.uniform(8.0, 20.0) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        points = rng.uniform([0, 0], [width, height]) + steps.cumsum(axis=0)
        colour = rng.uniform(0.0, 255.0, 3)
        thickness = int(rng.integers(1, 4))
        layer = np.zeros((height, width), np.uint8)
        fixed = np.rint(points * 16).astype(np.int32)  # cv2 takes fractions of pixels as shifted ints
        cv2.polylines(layer, [fixed], False, 255, thickness, cv2.LINE_AA, shift=4)
        image += (layer / 255.0)[..., None] * (colour - image)
    return image.clip(0, 255)


def _paint(rng: np.random.Generator, image: np.ndarray, share: np.ndarray) -> None:
    """Blend a shape into a float image, in place, in a colour that contrasts with what is there."""
    x1, y1, x2, y2 = bounding_box(share > 0)
    nearby = image[y1:y2:4, x1:x2:4].reshape(-1, 1, 3)
    candidates = rng.uniform(0.0, 255.0, (32, 3))
    contrast = np.linalg.norm(nearby - candidates, axis=-1).min(axis=0)
    enough = contrast >= MIN_CONTRAST
    colour = candidates[enough.argmax() if enough.any() else contrast.argmax()]
    height, width = share.shape
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[:height, :width]
    shade = np.cos(angle) * (x - (x1 + x2) / 2) / (x2 - x1) + np.sin(angle) * (
        (y - (y1 + y2) / 2) / (y2 - y1)
    )
    image += share[..., None] * (colour + 30.0 * shade[..., None] - image)


def make(root: Path | str, splits: dict[str, int] | None = None, seed: int = 0) -> None:
    """Write a VOC folder: annotations, JPEG files and split files.

    It is made beside ``root`` and renamed when it is complete, so that an interrupted call leaves no
    partial data set.

    Args:
        root: a folder that does not exist or is empty.
        splits: number of images of each split; None stands for ``SPLITS``.
        seed: the same seed gives the same files.

    Raises:
        DataError: ``root`` is not empty, or cannot be written.

    Example:
        >>> make("data/shapes", {"train": 4, "val": 2})  # doctest: +SKIP
    """
    root, splits = Path(root), dict(splits or SPLITS)
    try:
        if root.exists() and any(root.iterdir()):
            raise DataError(f"{root} is not empty: shapes are made in a folder of their own")
        root.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{root.name}.part-", dir=root.parent))
        try:
            _write(part, splits, seed)
            part.chmod(0o755)  # mkdtemp makes it 0o700
            part.rename(root)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise DataError(f"cannot make the shapes data set in {root}: {error}") from error


def ensure(root: Path | str, splits: dict[str, int] | None = None, seed: int = 0) -> None:
    """Make the data set unless there is one with the same settings.

    Args:
        root, splits, seed: as for ``make``.

    Raises:
        DataError: ``root`` holds a data set of other settings, or something else; or its parent folder
            holds another data set.
    """
    root = Path(root)
    wanted = _settings(dict(splits or SPLITS), seed)
    if not (root / SETTINGS_FILE).is_file():
        for name in OTHER_DATA:
            if (root.parent / name).exists():
                raise DataError(
                    f"{root.parent} holds other data ({name}), so no shapes are made there: name "
                    "another folder with --data-dir, or train on that data with --dataset voc"
                )
        try:
            make(root, splits, seed)
        except DataError:
            # Another process may have made it meanwhile.
            if not (root / SETTINGS_FILE).is_file():
                raise
    try:
        there = json.loads((root / SETTINGS_FILE).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{root / SETTINGS_FILE} cannot be read: {error}; delete {root}") from error
    if there != wanted:
        raise DataError(
            f"{root} holds shapes made with {json.dumps(there)}, wanted {json.dumps(wanted)}: "
            "delete it or name another folder"
        )


def _settings(splits: dict[str, int], seed: int) -> dict[str, Any]:
    return {"version": VERSION, "seed": seed, "splits": splits}


def _write(folder: Path, splits: dict[str, int], seed: int) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for split, count in splits.items():
        names = [f"{split}_{number:06d}" for number in range(count)]
        for number, name in enumerate(tqdm(names, f"Making shapes, {split}", disable=None)):
            drawn = draw_scene(scene_rng(seed, split, number))
            picture = Image.fromarray(drawn.image)
            picture.save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
            annotation = _annotation(f"{name}.jpg", drawn)
            annotation.write(folder / "Annotations" / f"{name}.xml", encoding="utf-8")
        lines = "".join(f"{name}\n" for name in names)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
    (folder / SETTINGS_FILE).write_text(json.dumps(_settings(splits, seed)) + "\n")


def _annotation(filename: str, drawn: Scene) -> ElementTree.ElementTree:
    """Return a scene's annotation in VOC's convention: 1-based, inclusive corners."""
    root = ElementTree.Element("annotation")
    add = ElementTree.SubElement
    add(root, "folder").text = "shapes"
    add(root, "filename").text = filename
    size = add(root, "size")
    for name, value in zip(("height", "width", "depth"), drawn.image.shape, strict=True):
        add(size, name).text = str(value)
    add(root, "segmented").text = "0"
    for label, (x1, y1, x2, y2) in zip(drawn.labels, drawn.boxes, strict=True):
        element = add(root, "object")
        add(element, "name").text = CLASSES[label]
        add(element, "pose").text = "Unspecified"
        add(element, "truncated").text = "0"
        add(element, "difficult").text = "0"
        box = add(element, "bndbox")
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
        for name, value in corners.items():
            add(box, name).text = str(value)
    ElementTree.indent(root, "\t")
    return ElementTree.ElementTree(root)
