"""Install with ``pip install .``; extras: gpu, coco, import, test."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="frcnn",
    version=re.search(r'__version__ = "(.+)"', (HERE / "frcnn" / "__init__.py").read_text()).group(1),
    description="The reference trainer for Faster R-CNN in Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["frcnn", "frcnn.*"]),
    python_requires=">=3.11",
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15",
        "h5py",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "tqdm",
        "tensorboard",
        "defusedxml",
        "filelock",
        "matplotlib",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21"],
        "coco": ["pycocotools"],
        "import": ["safetensors", "torch"],
        "test": ["pytest", "pytest-xdist", "hypothesis", "jax", "jaxlib", "pycocotools"],
    },
)
