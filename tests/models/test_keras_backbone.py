"""``FasterRCNN`` made of parts: any Keras model as the backbone, another head, another RoI pooling."""

import keras
import numpy as np
import pytest
from keras import layers
from train_steps import Batch

from frcnn.config.schema import AnchorConfig, Config
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.errors import ConfigError
from frcnn.layers.roi_align import RoIAlign
from frcnn.layers.roi_pool import RoIPool
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.keras_backbone import with_pyramid
from frcnn.training.compile import compile_sub_models

C = 4


def convolutions(*strides, channels=8, padding="same"):
    """Return a model with a 3x3 convolution per stride, whose outputs are levels."""
    x = images = keras.Input((None, None, 3))
    levels = []
    for number, stride in enumerate(strides):
        x = layers.Conv2D(channels, 3, stride, padding, activation="relu", name=f"own{number}")(x)
        levels.append(x)
    return keras.Model(images, levels[0] if len(levels) == 1 else levels)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolutions = [layers.Conv2D(8, 3, stride, padding="same") for stride in (4, 2)]

    def call(self, x):
        first = self.convolutions[0](x)
        return [first, self.convolutions[1](first)]


def small(backbone, **parts):
    settings = {"model.rpn_channels": 8, "model.head_width": 8, "model.weights": "none"}
    settings |= {"rpn.post_nms_train": 20, "rpn.post_nms_test": 8, "roi.samples": 8}
    return FasterRCNN(backbone, C, config=Config().replace(settings), **parts)


@pytest.mark.parametrize(
    "make, strides, num_anchors",
    [
        (lambda: convolutions(8), (8,), 9),
        (lambda: convolutions(4, 2, 2), (4, 8, 16), 3),
        (Subclassed, (4, 8), 3),
    ],
)
def test_strides_and_anchors_are_found(make, strides, num_anchors):
    model = FasterRCNN(make(), C, head=layers.GlobalAveragePooling2D())
    generator = model.anchor_generator
    assert (generator.strides, model.size_multiple, model.num_anchors) == (
        strides,
        strides[-1],
        num_anchors,
    )
    sizes = [stride * 8 for stride in strides] if len(strides) > 1 else [64, 128, 256]
    assert list(generator.sizes) == sizes
    assert model.classifier.get_layer("roi_align").strides == strides
    cells = sum((64 // stride) * (96 // stride) for stride in strides)
    scores, _ = model.rpn.predict_on_batch(np.zeros((1, 64, 96, 3)))
    assert scores.shape == (1, cells, num_anchors)


def test_both_sub_models_train_the_given_model():
    backbone, batch = convolutions(4, 2), Batch()
    model = small(backbone, anchors=AnchorConfig(sizes=(16.0, 32.0)))
    assert model.num_anchors == 2 * 3
    compile_sub_models(model, total_steps=10)
    rng = np.random.default_rng(0)
    targets = AnchorTargetCreator(model.anchor_generator, model.config.rpn).full_maps(batch, rng)
    sampled = model.sample_rois(batch.images, batch.image_sizes, batch.gt_boxes, batch.gt_labels, rng)
    steps = [
        (model.rpn, batch.images, list(targets)),
        (model.classifier, [batch.images, sampled["rois"]], [sampled["y_class"], sampled["y_regress"]]),
    ]
    # The sampled RoIs are small, so the classifier pools all of them from the first level.
    for (sub_model, inputs, y_true), count in zip(steps, (4, 2)):
        before = backbone.get_weights()
        logs = sub_model.train_on_batch(inputs, y_true, return_dict=True)
        assert np.isfinite(logs["loss"])
        changed = [(one != other).any() for one, other in zip(before, backbone.get_weights())]
        assert all(changed[:count])


def test_a_frozen_model_stays_as_it_is():
    backbone = convolutions(8)
    backbone.trainable = False
    model = small(backbone)
    own = {variable.path for variable in model.rpn.trainable_variables}
    assert model.frozen_backbone is None and not any("own0" in path for path in own) and own


def test_images_are_raw_unless_preprocessing_is_given():
    names = [layer.name for layer in small(convolutions(8)).rpn.layers]
    assert "preprocess" not in names
    assert small(convolutions(8), preprocessing="torch").rpn.get_layer("preprocess").mode == "torch"


def test_head_and_roi_pooling_are_those_given():
    head = keras.Sequential([layers.Flatten(), layers.Dense(5)])
    model = small(convolutions(4, 2), head=head, roi_pooling=RoIPool((4,), 3))
    assert head in model.classifier.layers
    assert model.classifier.get_layer("class_logits").kernel.shape == (5, C)
    assert len(model.region_classifier.inputs) == 2  # one level and the RoIs


def test_a_name_brings_its_published_settings():
    model = FasterRCNN("mobilenet_v2_fpn", C)
    assert model.anchor_generator.sizes == (32.0, 64.0, 128.0, 256.0, 512.0)
    assert model.rpn.get_layer("preprocess").mode == "tf"
    assert all(layer.trainable for layer in model.detector.layers)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: convolutions(4, 4), r"twice the stride of the one before: \[4, 16\]"),
        (
            lambda: keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()]),
            "level 1",
        ),
    ],
)
def test_outputs_that_are_no_levels_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        FasterRCNN(make(), C)


def test_levels_of_different_widths_are_refused():
    images = keras.Input((None, None, 3))
    levels = [layers.Conv2D(width, 3, width, padding="same")(images) for width in (4, 8)]
    with pytest.raises(ConfigError, match=r"have \[4, 8\] channels, but the RPN needs the same"):
        FasterRCNN(keras.Model(images, levels), C)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"roi_pooling has the strides \(16,\), but .* \(8,\)"):
        small(convolutions(8), roi_pooling=RoIAlign((16,)))
    with pytest.raises(ConfigError, match="counts background, so it is at least 2, not 1"):
        FasterRCNN("tiny", 1)
    with pytest.raises(ConfigError, match="model.backbone must be one of vgg16"):
        FasterRCNN("vgg61", C)


def test_a_pyramid_is_put_on_a_backbone_of_keras_hub():
    """A stand-in with the attribute that keras-hub's backbones have, and a finer level that is left."""
    images = keras.Input((None, None, 3))
    x, outputs = images, {}
    for level, width in enumerate((4, 6, 8, 12), start=1):
        x = layers.Conv2D(width, 3, 2, "same", activation="relu")(x)
        outputs[f"P{level}"] = x
    backbone = keras.Model(images, x)
    backbone.pyramid_outputs = outputs
    model = FasterRCNN(with_pyramid(backbone, channels=16), C, head=layers.GlobalAveragePooling2D())
    assert model.anchor_generator.strides == (4, 8, 16)
    assert [level.shape[-1] for level in model.features] == [16, 16, 16]
    with pytest.raises(ConfigError, match="Functional has no pyramid_outputs of one input"):
        with_pyramid(convolutions(8))


def test_a_backbone_of_keras_hub_itself():
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    backbone = hub.models.ResNetBackbone([64], [7], [64, 64], [1, 1], [1, 2], "basic_block")
    model = FasterRCNN(with_pyramid(backbone, channels=8), C, head=layers.GlobalAveragePooling2D())
    assert model.anchor_generator.strides == (4, 8)
    scores, _ = model.rpn.predict_on_batch(np.zeros((1, 64, 96, 3), "float32"))
    assert scores.shape == (1, 16 * 24 + 8 * 12, model.num_anchors)
