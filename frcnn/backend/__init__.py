"""Functions that ``keras.ops`` does not have, for Keras' TensorFlow and JAX backends.

- ``choice``: the backend that Keras runs on.
- ``device``: sets up the device.
- ``data_parallel``: divides batches among several devices.
- ``kernels``: operations, most of them TensorFlow's kernels.
- ``compiling``: functions that are traced once.
- ``undo``: restores earlier values of variables.

TensorFlow is imported only if it is the backend, so that all model code runs with only JAX installed.

May import: nothing of frcnn.
"""

from frcnn.backend.choice import IS_TENSORFLOW, Shape, Tensor
from frcnn.backend.compiling import OpenShapeFunction, compiled, on_batches, with_gradients
from frcnn.backend.data_parallel import (
    batch_placement,
    data_parallel,
    num_devices,
    on_all_devices,
    own_rows,
    this_process_only,
)
from frcnn.backend.device import computes_on_cpu, on_cpu, prepare_device
from frcnn.backend.kernels import (
    has_native_crop,
    has_native_kernels,
    has_native_momentum,
    map_images,
    native_crop_and_resize,
    native_momentum,
    native_nms,
    padded_nms,
    portable_kernels,
    roi_align_of_format,
    sum_of_squares,
)
from frcnn.backend.undo import Undo

__all__ = [
    "IS_TENSORFLOW",
    "OpenShapeFunction",
    "Shape",
    "Tensor",
    "Undo",
    "batch_placement",
    "compiled",
    "computes_on_cpu",
    "data_parallel",
    "has_native_crop",
    "has_native_kernels",
    "has_native_momentum",
    "map_images",
    "native_crop_and_resize",
    "native_momentum",
    "native_nms",
    "num_devices",
    "on_all_devices",
    "on_batches",
    "on_cpu",
    "own_rows",
    "padded_nms",
    "portable_kernels",
    "prepare_device",
    "roi_align_of_format",
    "sum_of_squares",
    "this_process_only",
    "with_gradients",
]
