"""One small data set in each format, for the tests of the readers."""

import json
from pathlib import Path

from PIL import Image

SIZE = (40, 30)
# Image -> (class, half-open box) of its objects; c has none.
OBJECTS = {
    "a": [("cat", (2, 3, 22, 18)), ("dog", (10, 10, 40, 30))],
    "b": [("dog", (0, 0, 12, 9))],
    "c": [],
}
CLASSES = ("cat", "dog")


def images(folder, names=OBJECTS):
    """Write the images of a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", SIZE).save(folder / f"{name}.jpg")
    return folder


def write(root: Path, file: str, content) -> Path:
    """Write a text, or anything else as JSON, to a file below a folder."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco_content(**changes):
    """Return the content of a COCO JSON."""
    annotations, number = [], 0
    for image, name in enumerate(OBJECTS, start=7):
        for class_name, (x1, y1, x2, y2) in OBJECTS[name]:
            number += 1
            annotations.append(
                {
                    "id": number,
                    "image_id": image,
                    "category_id": 3 if class_name == "cat" else 90,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    content = {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "width": 40, "height": 30}
            for number, name in enumerate(OBJECTS, start=7)
        ],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
    }
    return content | changes


def coco(root):
    images(root / "images")
    write(root, "annotations.json", coco_content())


def yolo_line(class_name, box):
    x1, y1, x2, y2 = box
    numbers = ((x1 + x2) / 80, (y1 + y2) / 60, (x2 - x1) / 40, (y2 - y1) / 30)
    return f"{CLASSES.index(class_name)} " + " ".join(f"{number:.6f}" for number in numbers)


def yolo(root):
    images(root / "images")
    for name, objects in OBJECTS.items():
        write(root, f"labels/{name}.txt", "\n".join(yolo_line(*one) for one in objects))
    write(root, "classes.txt", "cat\ndog\n")


def csv(root):
    images(root / "images")
    rows = [
        f"{name}.jpg,{','.join(map(str, box))},{one}" for name in OBJECTS for one, box in OBJECTS[name]
    ]
    write(root, "annotations.csv", "\n".join([*rows, "c.jpg,,,,,"]))


def openimages(root):
    images(root / "images")
    rows = ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"]
    for name in OBJECTS:
        for one, (x1, y1, x2, y2) in OBJECTS[name]:
            rows.append(f"{name},x,/m/0{one},1,{x1 / 40},{x2 / 40},{y1 / 30},{y2 / 30},0,0,0")
    write(root, "annotations-bbox.csv", "\n".join(rows))
    write(root, "class-descriptions.csv", "/m/0cat,cat\n/m/0dog,dog\n")


def cvat(root, extra=""):
    images(root / "images")
    text = "<annotations><version>1.1</version><meta><task><labels>"
    text += (
        "".join(f"<label><name>{name}</name></label>" for name in CLASSES) + "</labels></task></meta>"
    )
    for number, name in enumerate(OBJECTS):
        text += f'<image id="{number}" name="{name}.jpg" width="40" height="30">'
        for one, (x1, y1, x2, y2) in OBJECTS[name]:
            text += f'<box label="{one}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"></box>'
        text += "</image>"
    write(root, "annotations.xml", f"{text}{extra}</annotations>")


def labelme(root):
    images(root)
    for name, objects in OBJECTS.items():
        shapes = [
            {"label": one, "points": [[x2, y1], [x1, y2]], "shape_type": "rectangle"}
            for one, (x1, y1, x2, y2) in objects
        ]
        content = {"imagePath": f"{name}.jpg", "imageWidth": 40, "imageHeight": 30, "shapes": shapes}
        write(root, f"{name}.json", content)


def voc_flat(root):
    images(root)
    for name, objects in OBJECTS.items():
        text = f"<annotation><filename>{name}.jpg</filename>"
        for one, (x1, y1, x2, y2) in objects:
            text += (
                f"<object><name>{one}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
                f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            )
        write(root, f"{name}.xml", f"{text}</annotation>")


# Format -> what writes the data set. OpenImages lists no image without objects.
WRITERS = {
    "coco": coco,
    "yolo": yolo,
    "csv": csv,
    "cvat": cvat,
    "labelme": labelme,
    "voc-flat": voc_flat,
}
