"""Every setting of a run, as frozen dataclasses: JSON in and out, ``--set KEY=VALUE``.

There is one system and no hidden default: ``RUN/resolved.json`` holds every value that the run used, and
reading it back gives the same ``Config``. An unknown key or an impossible value is a ``ConfigError``
that names the key. What a data set or a backbone starts from is in ``config.presets``; which source of
settings goes over which, in ``frcnn.config.precedence``.
"""

import dataclasses
import json
from dataclasses import dataclass, field

from frcnn.config import bounds, class_names, class_weights, text_format
from frcnn.errors import ConfigError, DataError

BACKBONES = (
    "vgg16",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v2_fpn",
    "resnet50_fpn",
    "resnet101_fpn",
    "resnet50_fpn_v2",
    "mobilenet_v3_large_fpn",
    "tiny",
)
DATASETS = ("voc", "shapes", "python")
OPTIMIZERS = ("sgd", "adam")
VARIANTS = ("auto", "keras", "torchvision")
PREPROCESSINGS = ("auto", "caffe", "caffe_rgb", "torch", "tf", "none")
SCHEDULES = ("alternating", "joint", "four-step")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
BAD_DATA_POLICIES = ("error", "skip")
AP_INTERPOLATIONS = ("auto", "11-point", "all-point")
BEST = ("auto", "mAP", "last")


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they become batches."""

    dataset: str = "voc"  # voc, shapes, or python: given to frcnn.train as objects
    dir: str = "data"  # where data sets live, or a bare VOC folder
    year: str = ""  # of the devkit: 2007 (also when empty), 2012 or 07+12; empty for a bare folder
    train_split: str = "trainval"
    val_split: str = "test"
    classes: tuple[str, ...] = ()  # empty: the devkit's 20, or those found in the training split
    on_bad_data: str = "error"  # or skip: leave out images with faults and list them
    short_side: int = 600  # pixels, after resizing
    long_side: int = 1000  # at most, pixels
    batch_size: int = 1
    # Sides are padded to multiples of this, and boxes to the most of any image: few shapes, few graphs.
    # 0: the network's own multiple; training on JAX, which compiles for each shape, chooses another.
    pad_multiple: int = 0
    interpolation: str = "area"  # when shrinking; or bilinear, without smoothing
    size_rounding: str = "nearest"  # of the resized image's sides to whole pixels; or down
    uint8_images: bool = True  # round resized images to 0..255 whole numbers, a quarter of the memory
    flip: float = 0.5  # probability of a horizontal flip
    loader_threads: int = 2  # threads that prepare batches ahead of the step
    prefetch: int = 4  # batches they may be ahead
    cache_mib: int = 0  # of memory for resized images, which later epochs need not decode; 0: none


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: str = "vgg16"
    weights: str = "imagenet"  # or none, or a file
    preprocessing: str = "auto"  # what the weights want: see PREPROCESSINGS; auto: known by file
    # Whose ResNet (keras: a stage's stride in its first 1x1 convolution, torchvision: in the 3x3) or
    # MobileNetV3 (keras: strided layers padded at one side) a pyramid stands on; auto: the weights', or
    # torchvision's.
    variant: str = "auto"
    trainable_stages: int = 3  # of a pretrained backbone, from its last; 5 in most
    frozen_batch_norm: bool = True  # of a pretrained backbone
    batch_norm_epsilon: float = 1e-5  # of the pyramids; those of keras.applications have their own
    rpn_channels: int = 512
    head_width: int = 4096  # of the two dense layers (vgg16, tiny)
    head_dropout: float = 0.5
    pool_size: int = 7  # bins a side, vgg16 and tiny; the others pool 14 for their last stage
    pooling: str = "roi_align"  # or roi_pool, the paper's
    pool_samples: int = 2  # roi_align: bilinear samples a bin and axis
    pool_aligned: bool = True  # roi_align: a value sits at its cell's centre; False: the first RoIAlign


@dataclass(frozen=True)
class AnchorConfig:
    """The anchors of a feature cell. Ren et al. 2015, section 3.1.1."""

    sizes: tuple[float, ...] = (128.0, 256.0, 512.0)  # pixels of the network input
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    size_per_level: bool = False  # each feature level has one of the sizes; else each has all
    offset: float = 0.5  # where in its cell an anchor's centre lies
    rounded: bool = False  # corners of a cell's anchors to whole pixels


@dataclass(frozen=True)
class RpnConfig:
    """Anchor assignment, anchor sampling and proposals. Ren et al. 2015, sections 3.1.2 to 3.3."""

    positive_iou: float = 0.7
    negative_iou: float = 0.3
    samples: int = 256
    positive_fraction: float = 0.5
    nms_iou: float = 0.7
    min_size: float = 1.0  # of a proposal, pixels
    score_threshold: float = 0.0  # a proposal must reach
    pre_nms_train: int = 12000  # a feature level
    post_nms_train: int = 2000
    pre_nms_test: int = 6000
    post_nms_test: int = 300


@dataclass(frozen=True)
class RoiConfig:
    """RoI sampling. Girshick 2015, section 2.3."""

    samples: int = 128
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    negative_iou_low: float = 0.0
    delta_weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)  # dx, dy, dw, dh


@dataclass(frozen=True)
class DetectionConfig:
    """From the classifier's outputs to detections, and how they are scored."""

    score_threshold: float = 0.05
    min_size: float = 0.0  # of a detection, pixels of the network input
    nms_iou: float = 0.3  # within a class
    max_detections: int = 100  # an image
    ap_iou: float = 0.5
    ap_interpolation: str = "auto"  # 11-point for VOC 2007, else all-point, as VOC from 2010 on


@dataclass(frozen=True)
class OptimizerConfig:
    """One optimizer for each sub-model, made alike. Ren et al. 2015, section 3.2."""

    name: str = "sgd"  # or adam
    learning_rate: float = 1e-3
    momentum: float = 0.9  # sgd
    bias_lr_factor: float = 2.0  # sgd: times the rate, for biases
    weight_decay: float = 5e-4  # of kernels; not of biases and scales
    clip_norm: float = 100.0  # of all gradients of a sub-model together; 0: off
    warmup_steps: int = 100  # the rate rises from 0 over these
    # With N workers a batch is N times as large and there are N times fewer steps: each is to go N times
    # as far. Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.1; none: the rate stays.
    lr_scaling: str = "linear"
    lr_scaling_warmup: float = 5 / 90  # share of the run over which the rate rises to N times: 2.2 there
    decay_at: tuple[float, ...] = (0.75,)  # shares of the run after which the rate is multiplied
    decay_factor: float = 0.1


@dataclass(frozen=True)
class LossConfig:
    """``loss_weights`` handed to ``compile``: class loss, box loss; and weights of classes."""

    rpn: tuple[float, ...] = (1.0, 1.0)
    classifier: tuple[float, ...] = (1.0, 1.0)
    # Of the classifier's class loss: NAME=WEIGHT each, and 1 for every other; background is a name, too.
    class_weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    schedule: str = "alternating"
    precision: str = "float32"  # or of layers alone: mixed_bfloat16; mixed_float16, losses scaled
    epochs: int = 16  # of VOC 2007's 5011 trainval images: the paper's 80,000 steps
    steps_per_epoch: int = 0  # 0: once through the training split
    seed: int = 0
    deterministic: bool = False  # on a GPU too the same seed gives the same bits, if more slowly
    max_nonfinite_steps: int = 10  # skipped in a row, loss or gradient not finite, that end the run
    log_every: int = 10  # steps between scalars, each those of one step; the first is logged too
    validate_every: int = 1  # epochs
    best_weights: str = "auto"  # by mAP, or last; auto: last where validation is on a test split


@dataclass(frozen=True)
class CheckpointConfig:
    """How much work an interruption may cost. The last epoch is always followed by a checkpoint."""

    every_steps: int = 0  # 0: not by steps
    every_minutes: float = 10.0  # 0: not by time
    keep: int = 2  # the newest; each has the weights, and the optimizers' state of about the same size


@dataclass(frozen=True)
class Config:
    """Everything a run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    rpn: RpnConfig = field(default_factory=RpnConfig)
    roi: RoiConfig = field(default_factory=RoiConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self):
        for key, allowed in (
            ("data.dataset", DATASETS),
            ("data.on_bad_data", BAD_DATA_POLICIES),
            ("data.interpolation", ("area", "bilinear")),
            ("data.size_rounding", ("nearest", "down")),
            ("model.backbone", BACKBONES),
            ("model.preprocessing", PREPROCESSINGS),
            ("model.variant", VARIANTS),
            ("model.pooling", ("roi_align", "roi_pool")),
            ("detection.ap_interpolation", AP_INTERPOLATIONS),
            ("optimizer.name", OPTIMIZERS),
            ("optimizer.lr_scaling", ("linear", "none")),
            ("train.schedule", SCHEDULES),
            ("train.precision", PRECISIONS),
            ("train.best_weights", BEST),
        ):
            if self.get(key) not in allowed:
                raise ConfigError(f"{key} is {self.get(key)!r}, not one of {', '.join(allowed)}")
        bounds.check(self.get)
        if self.rpn.negative_iou > self.rpn.positive_iou:
            raise ConfigError("rpn.negative_iou must not be above rpn.positive_iou")
        if len(set(self.data.classes)) != len(self.data.classes):
            raise ConfigError(f"data.classes names a class twice: {', '.join(self.data.classes)}")
        class_weights.parse(self.loss.class_weights)
        if self.data.classes:
            class_weights.of_classes(self.loss.class_weights, self.data.classes)
        if self.data.short_side > self.data.long_side:
            raise ConfigError("data.short_side must not be above data.long_side")

    def get(self, key):
        """Return the value of a dotted key such as ``"rpn.samples"``."""
        section, name = key.split(".")
        return getattr(getattr(self, section), name)

    def replace(self, values):
        """Return a copy with some values changed.

        Args:
            values: {dotted key: value}; a value may be text, as a command line gives it.

        Raises:
            ConfigError: an unknown key, or a value that does not fit.
        """
        changes = {}
        for key, value in text_format.convert_all(values, KEYS).items():
            section, name = key.split(".")
            if key == "data.classes":
                value = _clean_classes(value)
            changes.setdefault(section, {})[name] = value
        sections = {
            section: dataclasses.replace(getattr(self, section), **fields)
            for section, fields in changes.items()
        }
        return dataclasses.replace(self, **sections)

    def to_json(self):
        """Return all settings as JSON text, {section: {name: value}}."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def updated_from_json(self, text, source="JSON"):
        """Return a copy with the settings of a JSON text, which need not hold all, put over it.

        Args:
            text: as ``to_json`` writes it.
            source: what error messages call the text: its file's name.
        """
        values = text_format.parse_json(text, SECTIONS, source)
        try:
            return self.replace(values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error


def _clean_classes(names):
    try:
        return class_names.clean_all(names)
    except DataError as error:
        raise ConfigError(f"data.classes: {error}") from error


SECTIONS = tuple(section.name for section in dataclasses.fields(Config))
KEYS = {
    f"{section.name}.{setting.name}": setting.type
    for section in dataclasses.fields(Config)
    for setting in dataclasses.fields(section.type)
}
