"""Make the runs and the screenshots of docs/curves.md: ``python scripts/curves_page.py RUNS``.

There are four small runs on drawn shapes: a good one, and three with one fault each. The screenshots
show TensorBoard's pages in headless Chromium. It takes half an hour on two CPU cores. Runs that are
already in RUNS are not trained again.

``python scripts/curves_page.py RUN --report report.html --out FOLDER`` takes screenshots of one run of
``frcnn train`` and of its report instead: each page in a window of 1400 and one of 400 pixels.
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
# Of one run: pages of TensorBoard and parts of the report, and sizes of the window.
PAGES = ("scalars", "images", "pr_curves", "hparams", "text", "custom_scalars", "histograms")
PARTS = ("summary", "curves", "classes", "mistakes", "labels", "training", "about")
WINDOWS = ((1400, 900), (400, 900))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("runs", type=pathlib.Path, metavar="RUNS", help="folder for data and runs")
    parser.add_argument("--report", type=pathlib.Path, help="RUNS is one run, and this is its report")
    parser.add_argument("--chromium", default="chromium", help="the browser's command")
    parser.add_argument("--out", type=pathlib.Path, default=IMAGES, help="folder for the screenshots")
    arguments = parser.parse_args()
    if arguments.report:
        one_run(arguments.runs, arguments.report, arguments.out, arguments.chromium)
        return
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


def one_run(run: pathlib.Path, report: pathlib.Path, out: pathlib.Path, browser: str) -> None:
    """Write a screenshot of each page of a run and of its report: a wide window beside a narrow one."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, tensorboard(run) as address:
        urls = {page: f"{address}#{page}" for page in PAGES}
        urls |= {f"report_{part}": f"{report.resolve().as_uri()}#{part}" for part in PARTS}
        for name, url in urls.items():
            pictures = []
            for width, height in WINDOWS:
                path = pathlib.Path(folder, f"{name}_{width}.png")
                screenshot(browser, url, path, width, height)
                with Image.open(path) as image:
                    pictures.append(image.convert("RGB"))
            gap = 20
            sides = [picture.width for picture in pictures]
            both = Image.new("RGB", (sum(sides) + gap, max(one.height for one in pictures)), "grey")
            both.paste(pictures[0], (0, 0))
            both.paste(pictures[1], (sides[0] + gap, 0))
            save(both, out / f"{name}.png")


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
    with Image.open(path) as image:
        picture = image.convert("RGB")
    save(picture, path)


def save(picture: Image.Image, path: pathlib.Path) -> None:
    """Write a PNG of 192 colours: half the bytes. Lines of a rare colour keep it."""
    picture.quantize(192, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


if __name__ == "__main__":
    main()
