"""Fuzz one reader of files: ``python tests/fuzz/fuzz_readers.py READER SECONDS`` (pip install atheris).

Coverage guides the changes to the seeds. An input that makes a reader raise anything but
``FrcnnError``, or take more than 20 seconds or 3 GiB, ends the run and is kept in ``crash-*`` in the
current folder; mend the reader and put the input under ``tests/fuzz/seeds/READER``, where a test tries
it from then on.
"""

import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import atheris  # noqa: E402

with atheris.instrument_imports(include=["frcnn", "PIL", "csv", "json", "yaml"]):
    import readers

from frcnn.errors import FrcnnError  # noqa: E402

# Words that bytes alone would hardly be changed into.
WORDS = {
    "annotation": "<object> </object> <name> <bndbox> <xmin> <part> <!DOCTYPE <!ENTITY &b; nan".split(),
    "split": ["\\x0a", "../", " 1", " -1", ".jpg", "\\x1b[31m"],
    "config": "null true 1e999 NaN Infinity [] {} -1 99999999999999999999".split(),
    "assignments": "rpn.samples= anchors.sizes= data.classes= 1e999 nan ,, \\x00".split(),
    "metrics": ["epoch,step", "\\x0a", ",,", "nan", '\\"'],
    "nonfinite": ['{\\"step\\": 2}', "\\x0a", "null", "[]"],
    "coco": '\\"images\\" \\"annotations\\" \\"bbox\\" \\"segmentation\\" 1e999 NaN null'.split(),
    "yolo": ["\\x0a", " -1", " nan", " 1e999", " inf", ",5"],
    "yolo_yaml": "train: val: test: names: path: kpt_shape: ../ *.jpg [a &a !!".split(),
    "darknet": ["train = ", "valid = ", "names = ", "../", "\\x0a"],
    "image_list": ["\\x0a", "../", ".jpg", "C:", "\\x00"],
    "csv": ["\\x0a", ";", "\\x09", '\\"', "xmin", "iscrowd", "1e999", "nan", ",,,"],
    "csv_classes": ["\\x0a", "/m/0", ",1", '\\"'],
    "cvat": "<image <box <polygon <mask rotation= points= subset= <track> <!ENTITY nan 1e999".split(),
    "dota": ["\\x0a", "imagesource:", "gsd:", " nan", " 1e999", " inf", " -1", " plane 1"],
    "labelme": '\\"shapes\\" \\"circle\\" \\"points\\" \\"flags\\" 1e999 NaN null'.split(),
    "voc_flat": "<polygon> <x1> <y1> <pt> <bndbox> <robndbox> <difficult> nan 1e999".split(),
    "description": '\\"height\\" \\"dtype\\" \\"config\\" null 1e999 NaN [] {} -1'.split(),
    "environment": ["\\x0a", "[0-9999999999]", "(x9999999999)", "null", '{\\"cluster\\": 1}'],
}


def main(name, seconds):
    reader = readers.READERS[name]

    def once(content):
        try:
            reader(content)
        except FrcnnError:
            pass

    corpus = pathlib.Path(tempfile.mkdtemp(prefix=f"corpus-{name}-"))
    kept = HERE / "seeds" / name
    for seed, content in readers.seeds_of(name).items():
        (corpus / seed).write_bytes(content)
    options = []
    if name in WORDS:
        words = corpus.with_suffix(".words")
        words.write_text("".join(f'"{word}"\n' for word in WORDS[name]))
        options.append(f"-dict={words}")
    options += [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=3072",
        "-max_len=20000",
    ]
    options += ["-print_final_stats=1", "-close_fd_mask=1"]
    atheris.Setup([sys.argv[0], str(corpus), *([str(kept)] if kept.is_dir() else []), *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
