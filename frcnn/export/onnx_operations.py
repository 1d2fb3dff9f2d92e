"""Conversion of operations that ``tf2onnx`` does not know, or converts wrongly.

An ONNX operation that TensorFlow lacks is traced as a ``PyFunc`` that cannot run. Its token has the name
of the operation and its attributes, and ``replace`` replaces it by the operation.

``tf2onnx`` 1.17 turns TensorFlow's division of whole numbers, which rounds down, into ONNX's ``Div``,
which rounds towards 0. With an open input, ``-(-height // stride)``, the cells of a level, then came out
one too small. ``divide`` and ``modulo`` convert both operations exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from frcnn.export import roi_products


def roi_align(
    features: tf.Tensor,
    rois: tf.Tensor,
    image: tf.Tensor,
    pool_size: int,
    samples: int,
    aligned: bool,
) -> tf.Tensor:
    """Pool RoIs by ONNX's ``RoiAlign``, or by matrix products where ``roi_products.fits``.

    Both take the same samples as ``frcnn.layers.roi_align``.
    The gathering RoIAlign writes each sample's four cells to memory first: for 300 RoIs of 14 x 14 bins
    and 576 channels, 0.5 GB for each of the four.

    Args:
        features: (B, h, w, K).
        rois: (N, 4), cells.
        image: (N,) int32.
        pool_size, samples, aligned: as for ``RoIAlign``.

    Returns:
        (N, pool_size, pool_size, K).
    """
    if roi_products.fits(features, rois, pool_size, samples):
        return roi_products.roi_align(features, rois, pool_size, samples, aligned)
    maps = tf.transpose(features, (0, 3, 1, 2))
    pooled = _operation(
        "RoiAlign",
        [maps, rois, tf.cast(image, tf.int64)],
        tf.float32,
        output_height=pool_size,
        output_width=pool_size,
        sampling_ratio=samples,
        spatial_scale=1.0,
        mode="avg",
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )
    pooled.set_shape((rois.shape[0], features.shape[3], pool_size, pool_size))
    return tf.transpose(pooled, (0, 2, 3, 1))


def _operation(name: str, inputs: list[tf.Tensor], dtype: tf.DType, **attributes: Any) -> tf.Tensor:
    """Return the output of an ONNX operation with one output."""
    return tf.raw_ops.PyFunc(input=inputs, token=json.dumps([name, attributes]), Tout=[dtype])[0]


def replace(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Put the ONNX operation in the place of its ``PyFunc``, in a graph of ``tf2onnx``."""
    operation, attributes = json.loads(node.get_attr_str("token"))
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node(
        operation,
        node.input,
        outputs=node.output,
        name=node.name,
        attr=attributes,
        shapes=shapes,
        dtypes=dtypes,
    )


def divide(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Convert ``FloorDiv``: the quotient of two numbers, rounded down."""
    dividend, divisor = node.input
    if graph.get_dtype(dividend) in _WHOLE:
        # What is left is a multiple of the divisor, so that Div has nothing to round.
        rest = _make(graph, node, "Mod", [dividend, divisor])
        multiple = _make(graph, node, "Sub", [dividend, rest])
        _become(graph, node, "Div", [multiple, divisor])
    else:
        _become(graph, node, "Floor", [_make(graph, node, "Div", [dividend, divisor])])


def modulo(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Convert ``FloorMod``: the remainder of ``FloorDiv``, with the sign of the divisor."""
    dividend, divisor = node.input
    if graph.get_dtype(dividend) in _WHOLE:
        _become(graph, node, "Mod", [dividend, divisor])  # ONNX's has the divisor's sign, too
    else:
        quotient = _make(graph, node, "Div", [dividend, divisor])
        multiple = _make(graph, node, "Mul", [_make(graph, node, "Floor", [quotient]), divisor])
        _become(graph, node, "Sub", [dividend, multiple])


# Of int32 and int64, as onnx.TensorProto numbers them.
_WHOLE = (6, 7)


def _make(graph, node, operation, inputs):
    """Add a node whose output has the dtype of another node's, and return the output's name."""
    return graph.make_node(operation, inputs, dtypes=node.output_dtypes).output[0]


def _become(graph, node, operation, inputs):
    """Replace a node by another operation."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node(operation, inputs, outputs=node.output, name=node.name, shapes=shapes, dtypes=dtypes)


HANDLERS: dict[str, tuple[Callable, list]] = {  # for tf2onnx
    "PyFunc": (replace, []),
    "FloorDiv": (divide, []),
    "FloorMod": (modulo, []),
}
