"""The settings, section by section, each with its type, default, bounds and meaning.

A config may come from an untrusted file of a detector. So every setting on which the use of memory
depends has an upper bound, far above any useful value. ``docs/settings.md`` is made from this file
(``frcnn.config.reference``).
"""

from __future__ import annotations

from typing import Literal, get_args

from frcnn.config.fields import (
    LARGEST,
    UNBOUNDED,
    ClassNames,
    Pixels,
    PositiveFactor,
    Ratio,
    Renames,
    Section,
    Share,
    setting,
)
from frcnn.config.values import List, Number, Switch, Text, Whole

Backbone = Literal[
    "vgg16",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v2_fpn",
    "resnet50_fpn",
    "resnet101_fpn",
    "resnet50_fpn_v2",
    "mobilenet_v3_large_fpn",
    "convnext_tiny_fpn",
    "efficientnetv2_b0_fpn",
    "resnet50v2_fpn",
    "tiny",
]
Format = Literal["auto", "voc", "coco", "yolo", "csv", "cvat", "dota", "labelme", "voc-flat"]
FORMATS = get_args(Format)
BACKBONES = get_args(Backbone)


class DataConfig(Section):
    """Which images are read, and how they become batches."""

    dataset: Literal["voc", "shapes", "python"] = setting(
        "voc",
        "voc: labelled images of any format in dir; shapes: drawn images; python: Python objects "
        "given to "
        "frcnn.train",
    )
    dir: Text = setting("data", "folder of labelled images, or folder that contains VOCdevkit")
    format: Format = setting("auto", "format of the labels in dir; auto: recognise it")
    year: Text = setting(
        "", "year of the VOC devkit: 2007 (also if empty), 2012 or 07+12; empty for a VOC folder"
    )
    train_split: Text = setting("trainval", "split to train on")
    val_split: Text = setting("test", "split to validate on")
    classes: ClassNames = setting(
        (),
        "names of the object classes, in the order of the labels; objects of other classes are dropped "
        "and counted; empty: the devkit's 20, or those in the training split",
        max_length=2**14,
    )
    rename: Renames = setting(
        (), "class names to change while labels are read, each OLD=NEW", max_length=2**14
    )
    on_bad_data: Literal["error", "skip", "clip"] = setting(
        "error",
        "error: stop if an image or annotation has a fault; skip: skip the image and list the fault; "
        "clip: as skip, but clip boxes that reach out of the image by a little",
    )
    short_side: Whole = setting(600, "short side of a resized image, pixels", ge=1, le=2**14)
    # keras-frcnn has no limit of the long side.
    long_side: Whole = setting(
        1000, "longest side of a resized image, pixels; it limits short_side", ge=1, le=2**20
    )
    batch_size: Whole = setting(1, "images per step and device", ge=1, le=2**12)
    pad_multiple: Whole = setting(
        0,
        "pad sides to multiples of this, pixels, and the number of boxes to the most of any image, so "
        "that there are few shapes to compile; 0: the network's own multiple, or a larger one for XLA "
        "(JAX, train.xla), which compiles once per shape",
        ge=0,
        le=2**12,
    )
    interpolation: Literal["area", "bilinear"] = setting(
        "area", "interpolation when an image shrinks; bilinear does not smooth"
    )
    size_rounding: Literal["nearest", "down"] = setting(
        "nearest", "how the sides of a resized image become whole pixels"
    )
    half_jpeg: Switch = setting(
        False,
        "decode a JPEG at half its size where it shrinks by more than two: faster, and nearly the same "
        "pixels; not with augment",
    )
    uint8_images: Switch = setting(
        True, "round the pixels of resized images to whole numbers: a quarter of the memory"
    )
    flip: Number = setting(0.5, "probability of a horizontal flip", ge=0, le=1)
    repeat_threshold: Number = setting(
        0.0,
        "a class is rare if a smaller share of the images than this has it; images with rare classes "
        "come "
        "several times in an epoch (Gupta et al. 2019, LVIS); 0: off",
        ge=0,
        le=1,
    )
    loader_threads: Whole = setting(2, "number of threads that prepare batches", ge=1, le=2**10)
    prefetch: Whole = setting(4, "number of batches prepared in advance", ge=1, le=2**12)
    cache_mib: Whole = setting(
        0, "memory of the cache of resized images, MiB; 0: no cache", ge=0, le=2**24
    )


class ModelConfig(Section):
    """The network."""

    backbone: Backbone = setting("vgg16", "network that computes the features")
    weights: Text = setting("imagenet", "initial weights: imagenet, none, or a file")
    preprocessing: Literal["auto", "caffe", "caffe_rgb", "torch", "tf", "none"] = setting(
        "auto", "preprocessing of the pixels; auto: as the weights were trained"
    )
    variant: Literal["auto", "keras", "torchvision"] = setting(
        "auto",
        "layout of ResNet (keras: stride in a stage's first 1x1 convolution, torchvision: in the "
        "3x3) and MobileNetV3 (keras: strided layers padded at one side) under a pyramid; auto: "
        "that of the weights, or torchvision",
    )
    trainable_stages: Whole = setting(
        3, "stages of a pretrained backbone to train, from the last; most have 5", ge=0, le=100
    )
    unfreeze_at: Whole = setting(
        0,
        "epoch, from 1, from which all stages are trained; 0: never; not with train.schedule=four-step",
        ge=0,
        le=UNBOUNDED,
    )
    frozen_batch_norm: Switch = setting(True, "freeze the batch normalization of a pretrained backbone")
    batch_norm_epsilon: Number = setting(
        1e-5, "epsilon of batch normalization in pyramid backbones", ge=0, le=1e3
    )
    pyramid_channels: Whole = setting(
        256, "channels of each level of a feature pyramid; fewer are faster", ge=1, le=2**12
    )
    rpn_channels: Whole = setting(512, "channels of the RPN's convolution", ge=1, le=2**12)
    head_width: Whole = setting(
        4096,
        "units of the head's dense layers; the head of resnet50 and mobilenet_v2 has none",
        ge=1,
        le=2**14,
    )
    head_dropout: Number = setting(0.5, "dropout rate after each of these layers", ge=0, le=1)
    class_agnostic_boxes: Switch = setting(
        False, "the head predicts one box per RoI for all classes, in place of one per class"
    )
    cascade_stages: Whole = setting(
        1,
        "heads in a row, each of which takes the boxes of the one before as its RoIs (Cascade R-CNN, "
        "Cai & Vasconcelos 2018), with one box per RoI for all classes; 1: off",
        ge=1,
        le=3,
    )
    pool_size: Whole = setting(
        7, "bins per side of a pooled RoI; resnet50 and mobilenet_v2 always have 14", ge=1, le=64
    )
    pooling: Literal["roi_align", "roi_pool"] = setting(
        "roi_align", "how RoIs are pooled; the paper has roi_pool"
    )
    pool_samples: Whole = setting(
        2, "roi_align: bilinear samples per bin and axis (sampling ratio)", ge=1, le=16
    )
    pool_aligned: Switch = setting(
        True, "roi_align: a feature is at the centre of its cell; false: as in the original RoIAlign"
    )

    @property
    def one_box_per_roi(self) -> bool:
        """Whether all classes share the box of a RoI."""
        return self.class_agnostic_boxes or self.cascade_stages > 1


class AnchorConfig(Section):
    """The anchors of a feature cell. Ren et al. 2015, section 3.1.1."""

    sizes: List[Pixels] = setting(
        (128.0, 256.0, 512.0),
        "square root of an anchor's area, pixels of the network input",
        min_length=1,
        max_length=64,
    )
    ratios: List[Ratio] = setting(
        (0.5, 1.0, 2.0), "height / width of the anchors", min_length=1, max_length=64
    )
    size_per_level: Switch = setting(
        False, "give each feature level one of the sizes; false: each level has all sizes"
    )
    offset: Number = setting(0.5, "position of an anchor's centre in its cell, cells", ge=0, le=1)
    rounded: Switch = setting(False, "round the corners of a cell's anchors to whole pixels")


class RpnConfig(Section):
    """Anchor matching, anchor sampling and proposals. Ren et al. 2015, sections 3.1.2 to 3.3."""

    positive_iou: Number = setting(
        0.7,
        "an anchor with this IoU or more is positive, and so is the best anchor of each box",
        ge=0,
        le=1,
    )
    negative_iou: Number = setting(
        0.3, "an anchor whose IoU with all boxes is below this is negative", ge=0, le=1
    )
    samples: Whole = setting(256, "anchors per image in the RPN's losses", ge=1, le=2**16)
    positive_fraction: Number = setting(0.5, "largest share of positives among these", ge=0, le=1)
    nms_iou: Number = setting(0.7, "IoU above which NMS removes a proposal", ge=0, le=1)
    min_size: Number = setting(1.0, "least width and height of a proposal, pixels", ge=0, le=LARGEST)
    score_threshold: Number = setting(0.0, "least score of a proposal", ge=0, le=1)
    pre_nms_train: Whole = setting(
        12000, "proposals per feature level that enter NMS in training", ge=1, le=2**20
    )
    post_nms_train: Whole = setting(
        2000, "proposals per image that remain after NMS in training", ge=1, le=2**16
    )
    pre_nms_test: Whole = setting(
        6000, "proposals per feature level that enter NMS in detection", ge=1, le=2**20
    )
    post_nms_test: Whole = setting(
        300, "proposals per image that remain after NMS in detection", ge=1, le=2**16
    )


class RoiConfig(Section):
    """RoI sampling. Girshick 2015, section 2.3."""

    samples: Whole = setting(128, "RoIs per image in the classifier's losses", ge=1, le=2**16)
    positive_fraction: Number = setting(0.25, "largest share of positives among these", ge=0, le=1)
    positive_iou: Number = setting(0.5, "an RoI with this IoU or more is positive", ge=0, le=1)
    negative_iou_low: Number = setting(0.0, "least IoU of a negative RoI", ge=0, le=1)
    delta_weights: List[PositiveFactor] = setting(
        (10.0, 10.0, 5.0, 5.0),
        "factors of the box targets dx, dy, dw, dh in the classifier",
        min_length=4,
        max_length=4,
    )


class OptimizerConfig(Section):
    """The optimizers: one for each sub-model, with the same settings. Ren et al. 2015, section 3.2."""

    name: Literal["sgd", "adam"] = setting(
        "sgd", "the optimizer; adam decays weights as AdamW does (Loshchilov & Hutter 2019)"
    )
    learning_rate: Number = setting(1e-3, "learning rate of a step with lr_images images", ge=0, le=1e4)
    lr_images: Whole = setting(
        1,
        "images per step that learning_rate is meant for; 0: data.batch_size, so that only more "
        "processes and devices change the rate",
        ge=0,
        le=2**16,
    )
    momentum: Number = setting(0.9, "momentum (sgd)", ge=0, lt=1)
    bias_lr_factor: Number = setting(2.0, "factor of the learning rate of biases (sgd)", ge=0, le=1e4)
    weight_decay: Number = setting(
        5e-4, "weight decay of kernels; biases and parameters of normalization have none", ge=0, le=1e4
    )
    clip_norm: Number = setting(
        100.0,
        "clip gradients to this norm, all gradients of a sub-model together; 0: off",
        ge=0,
        le=1e12,
    )
    warmup_steps: Whole = setting(
        100, "steps over which the learning rate rises from 0", ge=0, le=UNBOUNDED
    )
    # With N times as many images per step, there are N times fewer steps.
    lr_scaling: Literal["linear", "none"] = setting(
        "linear",
        "linear: N times lr_images images per step, by larger batches, processes or devices, use N "
        "times the learning rate (Goyal et al. 2017, section 2.1)",
    )
    lr_scaling_warmup: Number = setting(
        5 / 90,
        "share of the run in which this factor rises from 1 to N (Goyal et al. 2017, section 2.2)",
        ge=0,
        le=1,
    )
    decay: Literal["steps", "cosine"] = setting(
        "steps",
        "learning rate after the warm-up; steps: decay_at and decay_factor; cosine: half a cosine "
        "down to 0 "
        "at the end of the run (Loshchilov & Hutter 2017)",
    )
    decay_at: List[Share] = setting(
        (0.75,), "decay=steps: shares of the run after which the learning rate falls", max_length=1000
    )
    decay_factor: Number = setting(
        0.1, "decay=steps: factor of the learning rate at each of them", ge=0, le=1e4
    )
