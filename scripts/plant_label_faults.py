"""Copy a VOC folder and plant label faults in the copy, to try ``frcnn evaluate --report`` on it.

There are three kinds of faults, each in a share of all labels: the class is swapped with another class,
the box is moved by 0.3 of its width and height (an IoU of 0.32 with the old box), or the label is
removed. ``planted.json`` in the copy lists them: ``{image: [{"kind", "box", "class", "was"}, ...]}``;
boxes are in the units of the annotations. ``--kinds`` plants only some of the kinds.

    python scripts/plant_label_faults.py FOLDER COPY --swap RBC WBC
    frcnn train COPY --out RUN
    frcnn evaluate RUN --split train --report report.html --json scores.json
    python scripts/plant_label_faults.py --check scores.json COPY
"""

import argparse
import json
import pathlib
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Collection

import numpy as np

KINDS = ("swapped class", "shifted box", "unlabelled")


def plant(
    annotation: ET.Element,
    swap: tuple[str, str],
    share: float,
    rng: np.random.Generator,
    kinds: Collection[str] = KINDS,
) -> list[dict]:
    """Change an annotation, and return what was changed."""
    size = annotation.find("size")
    limits = [int(size.findtext(name)) for name in ("width", "height")]
    planted = []
    for item in list(annotation.findall("object")):
        name, box = item.findtext("name"), item.find("bndbox")
        corners = [float(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax")]
        kind = rng.choice([*KINDS, ""], p=[share, share, share, 1 - 3 * share])
        if kind not in kinds:
            continue
        if kind == "swapped class" and name in swap:
            item.find("name").text = swap[1 - swap.index(name)]
        elif kind == "shifted box":
            for axis in (0, 1):
                low, high = corners[axis], corners[axis + 2]
                move = 0.3 * (high - low)
                if high + move > limits[axis]:
                    move = -move
                if low + move >= 1:
                    corners[axis], corners[axis + 2] = low + move, high + move
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners):
                box.find(key).text = str(round(value))
        elif kind == "unlabelled":
            annotation.remove(item)
        else:
            continue
        planted.append({"kind": str(kind), "box": corners, "class": item.findtext("name"), "was": name})
    return planted


def copy_with_faults(
    folder: pathlib.Path,
    copy: pathlib.Path,
    swap: tuple[str, str],
    share: float,
    seed: int,
    kinds: Collection[str] = KINDS,
) -> dict[str, list[dict]]:
    """Copy a VOC folder, plant faults in the copy and write ``planted.json``; return its content."""
    rng = np.random.default_rng(seed)
    shutil.copytree(folder, copy)
    planted = {}
    for path in sorted((copy / "Annotations").glob("*.xml")):
        tree = ET.parse(path)
        planted[path.stem] = plant(tree.getroot(), swap, share, rng, kinds)
        tree.write(path)
    (copy / "planted.json").write_text(json.dumps(planted))
    return planted


def check(scores: pathlib.Path, copy: pathlib.Path, before: pathlib.Path | None = None) -> list[str]:
    """Return a line per kind: how many planted faults ``evaluate --json`` lists under this kind.

    Args:
        scores: of the copy.
        copy: the folder with planted faults.
        before: scores of the folder without them; the last line then says how the doubts have risen.
    """
    values = json.loads(scores.read_text())
    lines = []
    for kind in KINDS:
        found, total = count_named(kind, copy, values)
        said = sum(row["kind"] == kind for row in values["label_errors"])
        lines.append(f"{kind}: {found} of {total} planted faults named, {said} named in all")
    gains = {name: row["gain"] for name, row in values["analysis"]["errors"].items()}
    lines.append("costliest kinds: " + ", ".join(sorted(gains, key=lambda name: -gains[name])))
    doubts = {name: row["doubt"] for name, row in values["analysis"]["label_errors"].items()}
    lines.append("doubts: " + ", ".join(f"{name} {doubt:.1f}" for name, doubt in doubts.items()))
    if before:
        was = json.loads(before.read_text())["analysis"]["label_errors"]
        rises = {name: doubt - was[name]["doubt"] for name, doubt in doubts.items()}
        order = sorted(rises, key=lambda name: -rises[name])
        lines.append("risen by: " + ", ".join(f"{name} {rises[name]:+.1f}" for name in order))
    return lines


def count_named(kind: str, copy: pathlib.Path, values: dict) -> tuple[int, int]:
    """Return how many planted faults of a kind ``evaluate --json`` names, and how many there are.

    Args:
        kind: one of ``KINDS``.
        copy: the folder with planted faults; those of the split that was scored count.
        values: of ``evaluate --json``.
    """
    planted = json.loads((copy / "planted.json").read_text())
    scored = (copy / "ImageSets" / "Main" / f"{values['split']}.txt").read_text().split()
    named = {}
    for row in values["label_errors"]:
        named.setdefault(row["image"], []).append(row)
    faults = [(name, one) for name in scored for one in planted.get(name, []) if one["kind"] == kind]
    return sum(is_named(one, named.get(name, [])) for name, one in faults), len(faults)


def is_named(fault: dict, rows: list[dict]) -> bool:
    """Return whether a list of label errors names a planted fault, as its own kind."""
    for row in rows:
        if row["kind"] != fault["kind"]:
            continue
        x1, y1, x2, y2 = (row["label"] or row["detection"])["box"]
        a1, b1, a2, b2 = fault["box"]
        inner = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
        if inner >= 0.5 * ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inner):
            return True
    return False


def main() -> None:
    """Plant faults, or check which of them were found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="a VOC folder; with --check, the copy")
    parser.add_argument("copy", type=pathlib.Path, nargs="?", help="the new folder")
    parser.add_argument("--swap", nargs=2, metavar="CLASS", help="two classes")
    parser.add_argument("--share", type=float, default=0.1, help="of the labels, for each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="default: all three")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=pathlib.Path, metavar="JSON", help="of frcnn evaluate --json")
    parser.add_argument(
        "--before", type=pathlib.Path, metavar="JSON", help="with --check: the same without faults"
    )
    given = parser.parse_args()
    if given.check:
        print("\n".join(check(given.check, given.folder, given.before)))
        return
    if not (given.copy and given.swap):
        parser.error("give FOLDER COPY --swap CLASS CLASS, or --check JSON COPY")
    planted = copy_with_faults(
        given.folder, given.copy, tuple(given.swap), given.share, given.seed, given.kinds
    )
    for kind in KINDS:
        print(f"{kind}: {sum(one['kind'] == kind for ones in planted.values() for one in ones)}")


if __name__ == "__main__":
    main()
