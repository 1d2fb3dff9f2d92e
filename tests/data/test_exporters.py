"""Folders as annotation tools write them, made from the tools' public descriptions."""

import json
import os

import pytest
from PIL import Image

from frcnn.data.labels import Choice
from frcnn.data.sources import open_source

SIZE = (40, 30)
BOX = (4, 6, 24, 21)  # half-open, in every folder the object of the first image
HASHED = "0a1b2c3d-photo_1.jpg"  # Label Studio puts a hash before the name


def image(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG")


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((text if isinstance(text, str) else json.dumps(text)).encode(encoding))


def found_in(root, split):
    """Return the format, {image: [(class, box)]} and the classes of a split without a fault."""
    source = open_source(root)
    dataset, faults = source.collect(split, Choice())
    assert [str(fault) for fault in faults] == []
    objects = {
        os.path.basename(sample.path): [
            (dataset.classes[label], tuple(box))
            for label, box in zip(sample.labels, sample.boxes.tolist())
        ]
        for sample in dataset.samples
    }
    return source.format, objects, dataset.classes


def yolo_line(number=0, box=BOX):
    x1, y1, x2, y2 = box
    return f"{number} {(x1 + x2) / 80} {(y1 + y2) / 60} {(x2 - x1) / 40} {(y2 - y1) / 30}"


def coco(file, categories, width=SIZE[0], height=SIZE[1], **annotation):
    x1, y1, x2, y2 = BOX
    own = {"id": 0, "image_id": 0, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
    return {
        "info": {},
        "licenses": [],
        "categories": categories,
        "images": [{"id": 0, "license": 1, "file_name": file, "width": width, "height": height}],
        "annotations": [own | {"area": 300, "segmentation": []} | annotation],
    }


def voc(file, folder="", path=""):
    x1, y1, x2, y2 = BOX
    return (
        f"<annotation><folder>{folder}</folder><filename>{file}</filename><path>{path}</path>"
        f"<source><database>Unknown</database></source><size><width>40</width><height>30</height>"
        f"<depth>3</depth></size><segmented>0</segmented><object><name>cat</name><pose>Unspecified</pose>"
        f"<truncated>0</truncated><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin>"
        f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object></annotation>"
    )


def roboflow_coco(root):
    """Roboflow's COCO export: each split's images beside its ``_annotations.coco.json``."""
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
    ]
    for split in ("train", "valid", "test"):
        name = f"{split}_jpg.rf.0123456789abcdef.jpg"
        image(root / split / name)
        write(root / split / "_annotations.coco.json", coco(name, categories))
    write(root / "README.dataset.txt", "# pets\nhttps://example.org\n")
    write(root / "README.roboflow.txt", "pets - v1\n")


def roboflow_yolo(root):
    """Roboflow's YOLOv8 export: ``../train/images`` although the folder lies beside data.yaml."""
    for split in ("train", "valid", "test"):
        name = f"{split}_jpg.rf.0123456789abcdef"
        image(root / split / "images" / f"{name}.jpg")
        write(root / split / "labels" / f"{name}.txt", yolo_line())
    text = (
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['cat']\n"
    )
    write(root / "data.yaml", text + "\nroboflow:\n  workspace: a\n  version: 1\n")
    write(root / "README.dataset.txt", "# pets\n")


def roboflow_voc(root):
    """Roboflow's VOC export: XML beside the images of each split."""
    for split in ("train", "valid"):
        name = f"{split}_jpg.rf.0123456789abcdef"
        image(root / split / f"{name}.jpg")
        write(root / split / f"{name}.xml", voc(f"{name}.jpg", path=f"{name}.jpg"))


def roboflow_csv(root):
    """Roboflow's TensorFlow export: ``_annotations.csv`` in each split's folder."""
    x1, y1, x2, y2 = BOX
    for split in ("train", "valid"):
        name = f"{split}_jpg.rf.0123456789abcdef.jpg"
        image(root / split / name)
        head = "filename,width,height,class,xmin,ymin,xmax,ymax"
        write(root / split / "_annotations.csv", f"{head}\n{name},40,30,cat,{x1},{y1},{x2},{y2}\n")


def label_studio_coco(root):
    """Label Studio's COCO export: ``result.json``, names with backslashes on Windows."""
    image(root / "images" / HASHED)
    image(root / "images" / "1b2c3d4e-photo_2.jpg")
    content = coco(f"images\\{HASHED}", [{"id": 0, "name": "cat"}], category_id=0, ignore=0)
    content["images"].append(
        {"id": 1, "width": 40, "height": 30, "file_name": "images/1b2c3d4e-photo_2.jpg"}
    )
    write(root / "result.json", content)


def label_studio_yolo(root):
    """Label Studio's YOLO export: ``notes.json`` lists the categories, too."""
    image(root / "images" / HASHED)
    image(root / "images" / "1b2c3d4e-photo_2.jpg")
    write(root / "labels" / HASHED.replace(".jpg", ".txt"), yolo_line())
    write(root / "labels" / "1b2c3d4e-photo_2.txt", "")
    write(root / "classes.txt", "cat\n")
    notes = {"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024, "version": "1.0"}}
    write(root / "notes.json", json.dumps(notes, indent=2))


def label_studio_voc(root):
    """Label Studio's VOC export: ``Annotations`` and ``images``, no lists of splits."""
    for name in (HASHED, "1b2c3d4e-photo_2.jpg"):
        image(root / "images" / name)
        write(root / "Annotations" / name.replace(".jpg", ".xml"), voc(name, "images"))


def cvat_images(root):
    """CVAT for images 1.1 with a tag, an attribute, and a task's frames in subfolders."""
    x1, y1, x2, y2 = BOX
    image(root / "images" / "photo_1.jpg")
    image(root / "images" / "photo_2.jpg")
    text = (
        "<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n  <version>1.1</version>\n  <meta><job>"
        "<labels><label><name>cat</name><color>#ff0000</color><type>any</type><attributes></attributes>"
        "</label><label><name>blurred</name><type>tag</type><attributes></attributes></label></labels>"
        "</job></meta>\n"
        f'  <image id="0" name="photo_1.jpg" width="40" height="30"><box label="cat" source="manual" '
        f'occluded="0" xtl="{x1}.00" ytl="{y1}.00" xbr="{x2}.00" ybr="{y2}.00" z_order="0">'
        '<attribute name="colour">red</attribute></box>'
        '<tag label="blurred" source="manual"></tag></image>\n'
        '  <image id="1" name="photo_2.jpg" width="40" height="30"></image>\n</annotations>\n'
    )
    write(root / "annotations.xml", text)


def label_img(root):
    """LabelImg on Windows: XML beside upper-case endings, a full path, a byte order mark."""
    image(root / "IMG_0001.JPG")
    image(root / "IMG_0002.JPG")
    for name in ("IMG_0001", "IMG_0002"):
        text = voc(f"{name}.JPG", "photos", f"C:\\Users\\me\\photos\\{name}.JPG")
        write(root / f"{name}.xml", text, "utf-8-sig")


def windows_csv(root):
    """A keras-frcnn file of Windows: full paths, a byte order mark, semicolons, names not in ASCII."""
    x1, y1, x2, y2 = BOX
    image(root / "bilder" / "größe 1.JPG")
    rows = ["path;x1;y1;x2;y2;class", f"C:\\Users\\me\\bilder\\größe 1.JPG;{x1};{y1};{x2};{y2};cat"]
    write(root / "labels.csv", "\r\n".join(rows) + "\r\n", "utf-8-sig")


def windows_darknet(root):
    """A darknet folder of Windows: backslashes, a byte order mark, carriage returns."""
    image(root / "data" / "obj" / "猫.JPG")
    write(root / "data" / "obj" / "猫.txt", yolo_line() + "\r\n", "utf-8-sig")
    write(root / "data" / "obj.names", "cat\r\n", "utf-8-sig")
    write(root / "data" / "train.txt", "data\\obj\\猫.JPG\r\n", "utf-8-sig")
    lines = ("classes = 1", "train = data\\train.txt", "names = data\\obj.names", "backup = backup\\")
    write(root / "data" / "obj.data", "\r\n".join(lines), "utf-8-sig")


def labelme_windows(root):
    """LabelMe on Windows: backslashes in imagePath, images in a folder beside the JSON files."""
    x1, y1, x2, y2 = BOX
    image(root / "images" / "photo 1.PNG")
    shape = {"label": "cat", "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle", "flags": {}}
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": [shape | {"group_id": None, "description": ""}],
    }
    content |= {"imagePath": "..\\images\\photo 1.PNG", "imageData": None}
    content |= {"imageHeight": 30, "imageWidth": 40}
    write(root / "labels" / "photo 1.json", json.dumps(content, indent=2), "utf-8-sig")


# Writer -> format, split, classes, number of images.
EXPORTERS = {
    roboflow_coco: ("coco", "train", ("cat",), 1),
    roboflow_yolo: ("yolo", "train", ("cat",), 1),
    roboflow_voc: ("voc-flat", "train", ("cat",), 1),
    roboflow_csv: ("csv", "train", ("cat",), 1),
    label_studio_coco: ("coco", "all", ("cat",), 2),
    label_studio_yolo: ("yolo", "all", ("cat",), 2),
    label_studio_voc: ("voc-flat", "all", ("cat",), 2),
    cvat_images: ("cvat", "all", ("cat",), 2),
    label_img: ("voc-flat", "all", ("cat",), 2),
    windows_csv: ("csv", "all", ("cat",), 1),
    windows_darknet: ("yolo", "train", ("cat",), 1),
    labelme_windows: ("labelme", "all", ("cat",), 1),
}


@pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda one: one.__name__)
def test_an_export_is_read_as_it_is(tmp_path, exporter):
    format, split, classes, images = EXPORTERS[exporter]
    exporter(tmp_path / "data")
    found = found_in(tmp_path / "data", split)
    assert (found[0], found[2], len(found[1])) == (format, classes, images)
    assert next(iter(found[1].values())) == [("cat", tuple(map(float, BOX)))]


@pytest.mark.parametrize("exporter", [roboflow_coco, roboflow_yolo, roboflow_voc, roboflow_csv])
def test_valid_is_the_split_for_validation(tmp_path, exporter):
    exporter(tmp_path / "data")
    train, val = (found_in(tmp_path / "data", split)[1] for split in ("train", "val"))
    assert [*train] == ["train_jpg.rf.0123456789abcdef.jpg"]
    assert [*val] == ["valid_jpg.rf.0123456789abcdef.jpg"]
