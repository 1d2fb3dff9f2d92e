"""A data set with a part of the training images of another one, for runs that must be short."""

import pathlib


def make(source, split, every, target):
    """Make a VOC folder with one of ``every`` images of a split, and all images of the other splits.

    Args:
        source: a VOC folder.
        split: the split of the training images.
        every: one image of so many is taken: the first, and then each ``every``-th.
        target: a folder that does not exist. It gets lists of images, and links to the rest.
    """
    source, lists = pathlib.Path(source).resolve(), pathlib.Path(target) / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for path in source.iterdir():
        if path.name != "ImageSets":
            (pathlib.Path(target) / path.name).symlink_to(path)
    for path in (source / "ImageSets" / "Main").glob("*.txt"):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        taken = lines[::every] if path.stem == split else lines
        (lists / path.name).write_text("".join(taken), encoding="utf-8")
