"""Make the runs and the screenshots of docs/curves.md: ``python scripts/curves_page.py RUNS``.

There are four small runs on drawn shapes: a good one, and three with one fault each. The screenshots
show TensorBoard's pages in headless Chromium. It takes half an hour on two CPU cores. Runs that are
already in RUNS are not trained again.
"""

import argparse
import contextlib
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
IMAGES = ROOT / "docs" / "images" / "curves"

COMMON = ["--backbone", "tiny", "--weights", "none", "--optimizer", "adam"]
SIZES = ["--short-side", "120", "--long-side", "168", "--batch-size", "2"]
SMALL = {
    **{"model.rpn_channels": 64, "model.head_width": 128, "model.head_dropout": 0},
    **{"anchors.sizes": "18,36,60", "rpn.samples": 64, "roi.samples": 64},
    **{"rpn.pre_nms_train": 600, "rpn.post_nms_train": 200},
    **{"rpn.pre_nms_test": 300, "rpn.post_nms_test": 50},
    **{"optimizer.clip_norm": 10, "optimizer.warmup_steps": 20, "detection.nms_iou": 0.5},
}
LENGTH = {"train.epochs": 8, "train.steps_per_epoch": 80, "optimizer.learning_rate": 1e-3}
RUNS = {  # name -> (images to train on, settings)
    "healthy": (200, {}),
    "rate_too_high": (200, {"optimizer.learning_rate": 0.02, "optimizer.clip_norm": 0}),
    "anchors_do_not_fit": (200, {"anchors.sizes": "160,240,320"}),
    "overfitted": (6, {}),
}
# File -> (runs, page of TensorBoard, width, height).
SCREENSHOTS = {
    "total_loss": ("logs", "scalars&tagFilter=total_loss", 1000, 780),
    "recall": ("logs", "scalars&tagFilter=rpn%2Frecall", 1000, 780),
    "gradient_norm": ("logs", "scalars&tagFilter=gradient_norm", 1100, 780),
    "images": ("logs/healthy", "images&tagFilter=pictures%2F1", 1100, 800),
    "custom_scalars": ("logs/healthy", "custom_scalars", 1100, 780),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("runs", type=pathlib.Path, metavar="RUNS", help="folder for data and runs")
    parser.add_argument("--chromium", default="chromium", help="the browser's command")
    parser.add_argument("--out", type=pathlib.Path, default=IMAGES, help="folder for the screenshots")
    arguments = parser.parse_args()
    for name, (images, settings) in RUNS.items():
        if not (arguments.runs / "logs" / name / "best.weights.h5").is_file():
            train(arguments.runs, name, images, settings)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for runs in dict.fromkeys(runs for runs, *_ in SCREENSHOTS.values()):
        with tensorboard(arguments.runs / runs) as address:
            for name, (folder, page, width, height) in SCREENSHOTS.items():
                if folder == runs:
                    path = arguments.out / f"{name}.png"
                    screenshot(arguments.chromium, f"{address}#{page}", path, width, height)


def train(folder: pathlib.Path, name: str, images: int, settings: dict[str, object]) -> None:
    """Draw the data if they are missing, and train one run."""
    from frcnn.data import shapes

    data = folder / f"shapes-{images}"
    if not data.is_dir():
        shapes.make(data, {"train": images, "val": 40}, seed=0)
    sets = [f"--set={key}={value}" for key, value in (SMALL | LENGTH | settings).items()]
    out = folder / "logs" / name
    command = [sys.executable, "-m", "frcnn", "train", str(data), *COMMON, *SIZES, *sets]
    subprocess.run([*command, "--resume", "--out", str(out)], cwd=ROOT, check=True)


@contextlib.contextmanager
def tensorboard(logs: pathlib.Path):
    """Serve a folder of runs; yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logs.name, "--port", str(port)]
    # In its folder, as the page shows the path that it is given.
    server = subprocess.Popen([*command, "--samples_per_plugin", "images=100"], cwd=logs.parent)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(120):
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{address}data/environment").read()
                break
            time.sleep(1)
        time.sleep(15)  # until it has read the runs
        yield address
    finally:
        server.terminate()
        server.wait()


def screenshot(browser: str, url: str, path: pathlib.Path, width: int, height: int) -> None:
    """Write a screenshot of a page in a headless browser."""
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        options += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "--hide-scrollbars"]
        options += ["--virtual-time-budget=30000", f"--screenshot={path}", url]
        subprocess.run([browser, *options], check=True, timeout=300, stderr=subprocess.DEVNULL)
    with Image.open(path) as image:  # 128 colours: half the bytes
        small = image.convert("RGB").quantize(128)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
