"""``frcnn convert``: from data sets in any format to one in another format.

What the new format cannot store is counted and listed. Nothing is lost silently.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from frcnn.data.conversion_losses import Losses
from frcnn.data.converted import Converted, NewImage, stem
from frcnn.data.division import divide
from frcnn.data.faults import Fault
from frcnn.data.label_files import ALIASES
from frcnn.data.labels import Choice
from frcnn.data.sample import Dataset
from frcnn.data.sources import Source
from frcnn.data.writers import WRITERS
from frcnn.errors import ConfigError, DataError
from frcnn.text import did_you_mean, listed, shown

# What a file name may not hold: control characters, and bytes that are not UTF-8.
NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclasses.dataclass(frozen=True)
class Part:
    """One split of a source, and the split of the new data set that its images go to."""

    source: Source
    split: str
    new_split: str


def parts_of(sources: Sequence[Source], splits: Mapping[str, str], format: str) -> list[Part]:
    """Return the splits to convert, with their new names.

    Without a choice these are all splits that do not overlap. If there are ``train``, ``val`` and VOC's
    ``trainval``, they are ``train`` and ``val``. ``train2017`` becomes ``train``, ``valid`` becomes
    ``val``; images without a split become ``train``.

    Args:
        sources: the data sets.
        splits: {split: its new name, "" for the usual one}; empty: all.
        format: to write, a key of ``WRITERS``.

    Raises:
        ConfigError: a split has no name in the new format, or two of one source have the same.
        DataError: no source has such a split.
    """
    parts: list[Part] = []
    unknown = dict(splits)
    for source in sources:
        there = source.splits()
        chosen = {split: splits[split] for split in splits if split in there or split == "all"}
        if not splits:
            chosen = {split or "all": "" for split in _disjoint(there)}
        unknown = {split: new for split, new in unknown.items() if split not in chosen}
        new_names: set[str] = set()
        for split, new in chosen.items():
            name = new or _usual_name(split, format)
            allowed = WRITERS[format].SPLITS
            if allowed is not None and name not in allowed:
                raise ConfigError(
                    f"{format} has no split {shown(name)}, only {', '.join(allowed)}: say which one is "
                    f"meant, such as --split {shown(split)}={allowed[0]}"
                )
            if name in new_names and not new:
                raise ConfigError(
                    f"two splits of {source.root} would be {name}: choose with --split, which may name "
                    f"one more than once: {listed(one or 'all' for one in there)}"
                )
            new_names.add(name)
            parts.append(Part(source, split, name))
    if unknown:
        known = sorted({split or "all" for source in sources for split in source.splits()})
        name = next(iter(unknown))
        hint = f"{did_you_mean(name, known)}; there are: {listed(known)}"
        raise DataError(f"no source has the split {shown(name)}{hint}")
    return parts


def _disjoint(there: Sequence[str | None]) -> list[str | None]:
    """Return splits that have no image in common: not both VOC's trainval and train."""
    if "train" in there and "trainval" in there:
        return [split for split in there if split in ("train", "val", "test", None)]
    return list(there)


def _usual_name(split: str, format: str) -> str:
    name = re.sub(r"\d+$", "", split.lower())
    if name == "all" or (name == "trainval" and WRITERS[format].SPLITS is not None):
        return "train"
    return next((key for key, words in ALIASES.items() if name in words), split)


def collect(parts: Sequence[Part], choice: Choice) -> list[tuple[Dataset, list[Fault]]]:
    """Read all parts with their polygons; return each one's ``Dataset`` and faults."""
    choice = dataclasses.replace(choice, outlines=True)
    return [part.source.collect(part.split, choice, divide=False) for part in parts]


def combine(
    parts: Sequence[Part],
    datasets: Sequence[Dataset],
    choice: Choice,
    format: str,
    shares: Mapping[str, float],
) -> tuple[Converted, list[str]]:
    """Return the data set to write, and sentences about what is lost.

    Args:
        parts, datasets: what was read.
        choice: with the classes that are asked for.
        format: to write, a key of ``WRITERS``.
        shares: {split: share of the images}: the images are divided anew by the hash of their names,
            the rest into ``train``; empty: they keep their splits.

    Raises:
        DataError: an image is in two of the parts.
    """
    classes = choice.classes or tuple(dict.fromkeys(name for one in datasets for name in one.classes))
    writer = WRITERS[format]
    have_angles = any(one.oriented is not None for data in datasets for one in data.samples)
    four_points = "four points" in writer.STORES and have_angles
    notes = Losses(format, writer.STORES, writer.MIN_SIDE, four_points)
    taken: list[tuple[str, NewImage]] = []
    owner: dict[str, str] = {}
    names: set[str] = set()
    renamed = 0
    for part, dataset in zip(parts, datasets, strict=True):
        label = np.array([classes.index(name) for name in dataset.classes], np.int32)
        for sample in dataset.samples:
            if sample.path in owner:
                raise DataError(
                    f"{sample.path} is in {owner[sample.path]} and in {dataset.name}: choose splits "
                    "without images in common with --split"
                )
            owner[sample.path] = dataset.name
            file = _free_name(sample.path, part.source.root.resolve().name, names)
            renamed += file != Path(sample.path).name
            kept = notes.keep(dataclasses.replace(sample, labels=label[sample.labels]))
            if kept is not None:
                taken.append((part.new_split, NewImage(file, kept)))
    if shares:
        places = divide([image.file for _, image in taken], shares)
        taken = [(place, image) for place, (_, image) in zip(places, taken, strict=True)]
    splits: dict[str, list[NewImage]] = {}
    for split, image in taken:
        splits.setdefault(split, []).append(image)
    sentences = []
    if renamed:
        sentences.append(f"{renamed} images have new file names, as names would collide or not be read")
    used = {classes[label] for images in splits.values() for _, one in images for label in one.labels}
    sentences += notes.sentences()
    if "classes" not in writer.STORES and (tuple(sorted(used)) != classes):
        sentences.append(
            f"{format} does not store the order of the classes, nor classes without objects: they are "
            f"read again as {listed(sorted(used))}"
        )
    return Converted(splits, classes), list(dict.fromkeys(sentences))


def _free_name(path: str, source: str, names: set[str]) -> str:
    """Return a file name whose stem no other image of the data set has, in any case of letters."""
    name = NOT_IN_NAMES.sub("_", Path(path).name).strip()
    own, ending = stem(name).strip(), Path(name).suffix
    candidate, number = own, 1
    while candidate.casefold() in names:
        number += 1
        candidate = f"{source}_{own}" if number == 2 else f"{source}_{own}_{number}"
    names.add(candidate.casefold())
    return candidate + ending
