"""Writes the ``schema.pickle`` of keras-frcnn, as its trainers do, without having them here."""

import pickle
import sys
import types

CLASS_MAPPING = {"dog": 1, "cat": 0, "bg": 2}
# What keras-frcnn's VGG16 writes, but for what import has no use for.
SETTINGS = {
    "verbose": True,
    "network": "vgg",
    "use_horizontal_flips": False,
    "anchor_box_scales": [128, 256, 512],
    "anchor_box_ratios": [[1, 1], [1, 2], [2, 1]],
    "im_size": 600,
    "img_channel_mean": [103.939, 116.779, 123.68],
    "img_scaling_factor": 1.0,
    "num_rois": 32,
    "rpn_stride": 16,
    "std_scaling": 4.0,
    "classifier_regr_std": [8.0, 8.0, 4.0, 4.0],
    "class_mapping": CLASS_MAPPING,
    "model_path": "model_frcnn.hdf5",
}


def dumped(settings, protocol=3, module="keras_frcnn.config"):
    """Return the pickle of an instance of ``module``'s ``Config`` with these attributes."""
    config = type("Config", (), {"__module__": module})
    instance = config()
    vars(instance).update(settings)
    there = {name: sys.modules.get(name) for name in ("keras_frcnn", module)}
    try:
        # pickle looks the class up under its name before it writes that.
        sys.modules["keras_frcnn"] = types.ModuleType("keras_frcnn")
        sys.modules[module] = types.SimpleNamespace(Config=config)
        return pickle.dumps(instance, protocol)
    finally:
        for name, value in there.items():
            if value is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = value


def write_config(path, settings, **options):
    """Write it to a file and return the path."""
    with open(path, "wb") as file:
        file.write(dumped(settings, **options))
    return path
