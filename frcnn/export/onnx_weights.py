"""Store the weights of an ONNX graph, also in fewer bits. The graph computes in float32 all the same.

A large float32 array becomes a smaller one and the operation that widens it again: ``Cast`` from
float16, or ``DequantizeLinear`` from int8 with one scale per output channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from frcnn.export.metadata import Weights

SMALLEST = 1024  # numbers in an array; smaller ones are biases and constants of box arithmetic
# Operation -> axis of the output channels in its second input.
CHANNEL_AXES = {"Conv": 0, "MatMul": 1, "Gemm": 1}


def bind(graph: Any, arrays: Mapping[str, Any]) -> None:
    """Turn inputs of an ``onnx.GraphProto`` into stored weights, in place.

    Args:
        graph: the graph.
        arrays: {name of an input: its array}.
    """
    from onnx import numpy_helper

    for one in [one for one in graph.input if one.name in arrays]:
        graph.input.remove(one)
        graph.initializer.append(numpy_helper.from_array(np.asarray(arrays[one.name]), one.name))


def reduce(graph: Any, weights: Weights) -> None:
    """Change the stored weights of an ``onnx.GraphProto`` in place.

    Args:
        graph: the graph.
        weights: ``"float16"`` or ``"int8"``; ``"float32"`` changes nothing.
    """
    if weights == "float32":
        return
    from onnx import helper, numpy_helper

    axes = {
        node.input[1]: CHANNEL_AXES[node.op_type]
        for node in graph.node
        if node.op_type in CHANNEL_AXES and len(node.input) > 1
    }
    added = []
    for initializer in list(graph.initializer):
        if initializer.name not in axes:
            continue
        array = numpy_helper.to_array(initializer)
        if array.dtype != np.float32 or array.size < SMALLEST:
            continue
        name, stored = initializer.name, f"{initializer.name}:{weights}"
        graph.initializer.remove(initializer)
        if weights == "float16":
            graph.initializer.append(numpy_helper.from_array(array.astype("float16"), stored))
            added.append(helper.make_node("Cast", [stored], [name], to=1))  # 1: float32
            continue
        quantized, scales = quantize(array, axes[name])
        graph.initializer.append(numpy_helper.from_array(quantized, stored))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}:scales"))
        added.append(
            helper.make_node("DequantizeLinear", [stored, f"{name}:scales"], [name], axis=axes[name])
        )
    for node in reversed(added):
        graph.node.insert(0, node)


def quantize(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Round an array to 255 levels per channel, symmetric around 0.

    Args:
        array: float32.
        axis: of the channels.

    Returns:
        int8 array, and float32 scales, one per channel: their product is about ``array``.

    Example:
        >>> quantize(np.array([[1.0, 0.5]], "float32"), axis=0)[0].tolist()
        [[127, 64]]
    """
    others = tuple(number for number in range(array.ndim) if number != axis)
    largest = np.abs(array).max(axis=others, keepdims=True)
    scales = np.where(largest > 0.0, largest / 127.0, 1.0).astype("float32")
    return np.rint(array / scales).astype("int8"), scales.reshape(-1)
