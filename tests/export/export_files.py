"""Names of exported files, and what they need, for the tests of this folder."""

import pytest

NEEDS = {"onnx": "tf2onnx onnxruntime", "litert": "ai_edge_litert", "openvino": "tf2onnx openvino"}
FILES = {
    "saved_model": "detector.saved_model",
    "onnx": "d.onnx",
    "litert": "d.tflite",
    "openvino": "d.xml",
}


def skip_without(name):
    """Skip a test where a format's packages, the extra ``export``, are not installed."""
    for package in NEEDS.get(name, "").split():
        pytest.importorskip(package, reason=f"{package} is not installed: pip install frcnn[export]")
