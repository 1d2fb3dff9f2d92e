"""The optimizers' course: warm-up, decay, momentum, clipping, weight decay."""

import json

import keras
import numpy as np
import pytest

from frcnn import backend
from frcnn.config import presets
from frcnn.config.schema import Config, OptimizerConfig
from frcnn.runs import run_directory
from frcnn.training import learning_rate, optimizers
from frcnn.training.learning_rate import WarmupMultiStepLR

PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "warmup_steps": 0, "decay_at": ()}
PLAIN["bias_lr_factor"] = 1.0


def made(variables, total_steps=100, **settings):
    config = Config(optimizer={**PLAIN, **settings})
    rate = learning_rate.of_config(config, total_steps)
    return optimizers.make(config.optimizer, rate, variables)


def variable(*values, name="kernel"):
    return keras.Variable(np.array(values, "float32"), name=name)


def step(optimizer, variables, *gradients):
    optimizer.apply([keras.ops.convert_to_tensor(np.array(g, "float32")) for g in gradients], variables)


# --- the learning rate -----------------------------------------------------------------------


def test_rate_rises_stays_and_falls():
    rate = WarmupMultiStepLR(peak=0.8, warmup_steps=4, boundaries=[10, 15], factor=0.1)
    rates = [float(rate(number)) for number in range(17)]
    expected = [0.2, 0.4, 0.6] + [0.8] * 7 + [0.08] * 5 + [0.008] * 2
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_rate_rises_and_falls_along_half_a_cosine():
    settings = PLAIN | {"decay": "cosine", "learning_rate": 0.8, "warmup_steps": 4}
    rate = learning_rate.of_config(Config(optimizer=settings), total_steps=24)
    found = [float(rate(number)) for number in range(25)]
    falling = 0.4 * (1 + np.cos(np.pi * np.arange(21) / 20))
    np.testing.assert_allclose(found, [0.2, 0.4, 0.6, 0.8, *falling], rtol=1e-5, atol=1e-7)
    again = type(rate).from_config(rate.get_config())
    assert [float(again(number)) for number in range(25)] == found
    # Keras' own, over the same steps.
    keras_rate = keras.optimizers.schedules.CosineDecay(0.8, 20)
    np.testing.assert_allclose(
        found[4:], [float(keras_rate(number)) for number in range(21)], rtol=1e-5, atol=1e-7
    )


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert float(WarmupMultiStepLR(0.5, 0, [], 0.1)(0)) == 0.5


def test_with_several_workers_it_rises_to_as_many_times():
    rate = WarmupMultiStepLR(0.1, 2, [8], 0.1, scale=5.0, scale_steps=4)
    expected = [0.05 * 2, 0.1 * 3, 0.1 * 4, 0.1 * 5, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05]
    assert [float(rate(step)) for step in range(10)] == pytest.approx(expected)
    again = WarmupMultiStepLR.from_config(rate.get_config())
    assert float(again(2)) == float(rate(2))


@pytest.mark.parametrize(
    "batch, meant_for, scaling, expected",
    [
        (1, 1, "linear", 1),
        (4, 1, "linear", 4),
        (4, 2, "linear", 2),
        (4, 0, "linear", 1),
        (4, 1, "none", 1),
    ],
)
def test_the_rate_follows_the_images_per_step(batch, meant_for, scaling, expected):
    """Goyal et al. 2017, section 2.1: k times as many images, k times the rate."""
    own = PLAIN | {"learning_rate": 0.1, "lr_images": meant_for, "lr_scaling": scaling}
    config = Config(optimizer=own | {"lr_scaling_warmup": 0.0}, data={"batch_size": batch})
    assert float(learning_rate.of_config(config, 100)(50)) == pytest.approx(0.1 * expected)
    said = learning_rate.summary(config)
    assert said == (
        ""
        if expected == 1
        else f"{batch} images per step; learning rate 0.1 x {expected} = "
        f"{0.1 * expected:g} (optimizer.lr_scaling)"
    )


def test_several_processes_and_devices_have_more_images_per_step(monkeypatch):
    monkeypatch.setattr(learning_rate, "num_processes", lambda: 2)
    monkeypatch.setattr(learning_rate, "num_devices", lambda: 4)
    config = Config(data={"batch_size": 3}, optimizer={"lr_images": 6})
    assert learning_rate.images_per_step(config) == 24 and learning_rate.scale_of(config) == 4.0


def test_the_presets_have_the_rate_that_they_name():
    for name in presets.PRESETS:
        assert learning_rate.scale_of(presets.preset(name)) == 1.0, name


def test_a_run_of_before_this_rule_goes_on_with_its_rate(tmp_path):
    former = json.loads(Config(data={"batch_size": 4}).to_json())
    del former["optimizer"]["lr_images"]
    (tmp_path / "resolved.json").write_text(json.dumps(former))
    assert learning_rate.scale_of(run_directory.read_config(tmp_path)) == 1.0


def test_the_rate_is_saved_with_its_settings():
    rate = WarmupMultiStepLR(0.8, 4, (10, 15), 0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert [float(again(n)) for n in (0, 12)] == [float(rate(n)) for n in (0, 12)]


def test_the_papers_schedule_cuts_the_rate_after_three_quarters():
    config = OptimizerConfig()
    assert (config.name, config.learning_rate, config.momentum) == ("sgd", 1e-3, 0.9)
    weight = variable(1.0)
    rate = learning_rate.of_config(Config(), total_steps=80_000)
    optimizer = optimizers.make(config, rate, variables=[weight])
    for number, expected in [(1000, 1e-3), (59_999, 1e-3), (60_000, 1e-4), (79_999, 1e-4)]:
        optimizer.iterations.assign(number)
        np.testing.assert_allclose(float(optimizer.learning_rate), expected, rtol=1e-6)


# --- a step ----------------------------------------------------------------------------------


def test_sgd_with_momentum_by_hand():
    weight = variable(1.0)
    optimizer = made([weight], learning_rate=0.1, momentum=0.9)
    step(optimizer, [weight], [2.0])  # velocity -0.2
    step(optimizer, [weight], [1.0])  # velocity 0.9 * -0.2 - 0.1 = -0.28
    np.testing.assert_allclose(np.asarray(weight), [1 - 0.2 - 0.28], rtol=1e-6)


def test_adams_first_step_is_the_rate():
    weight = variable(1.0, 1.0)
    optimizer = made([weight], name="adam", learning_rate=1e-3)
    assert isinstance(optimizer, keras.optimizers.Adam)
    step(optimizer, [weight], [5.0, -0.01])  # whatever the gradient's size
    np.testing.assert_allclose(np.asarray(weight), [1 - 1e-3, 1 + 1e-3], rtol=1e-5)


def test_gradients_are_clipped_together():
    one, other = variable(0.0), variable(0.0)
    optimizer = made([one, other], learning_rate=1.0, clip_norm=1.0)
    step(optimizer, [one, other], [30.0], [40.0])  # norm 50
    np.testing.assert_allclose([np.asarray(one)[0], np.asarray(other)[0]], [-0.6, -0.8], rtol=1e-5)
    # Those that are short enough stay as they are.
    step(optimizer, [one, other], [0.3], [0.4])
    np.testing.assert_allclose([np.asarray(one)[0], np.asarray(other)[0]], [-0.9, -1.2], rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("clip_norm", [0.0, 10.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(name, clip_norm, bad):
    variables = [variable([1.0], name="kernel"), variable(1.0, name="bias")]
    optimizer = made(variables, name=name, learning_rate=0.1, clip_norm=clip_norm, weight_decay=0.1)
    step(optimizer, variables, [[1.0]], [1.0])
    everything = [*variables, *optimizer.variables]
    before = [np.array(one) for one in everything]
    if backend.IS_TENSORFLOW:
        step(optimizer, variables, [[bad]], [1.0])
    else:  # as Keras' trainer calls it
        values = [variable.value for variable in variables], [one.value for one in optimizer.variables]
        gradients = [keras.ops.convert_to_tensor(np.array(g, "float32")) for g in ([[bad]], [1.0])]
        after = optimizer.stateless_apply(values[1], gradients, values[0])
        for one, value in zip(everything, [*after[0], *after[1]]):
            one.assign(value)
    for one, old in zip(everything, before):
        np.testing.assert_array_equal(np.array(one), old)
    assert int(optimizer.iterations) == 1
    step(optimizer, variables, [[1.0]], [1.0])
    assert int(optimizer.iterations) == 2
    assert all((np.array(one) != old).all() for one, old in zip(variables, before))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_weight_decay_shrinks_kernels_only(name):
    names = ("kernel", "bias", "gamma", "beta")
    variables = [variable([1.0] if own == "kernel" else 1.0, name=own) for own in names]
    optimizer = made(variables, name=name, learning_rate=0.1, weight_decay=0.5)
    step(optimizer, variables, [[0.0]], [0.0], [0.0], [0.0])
    decayed = [np.asarray(v).item() for v in variables]
    np.testing.assert_allclose(decayed, [1 - 0.1 * 0.5, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_biases_move_at_a_rate_of_their_own(momentum):
    names = ("kernel", "bias", "gamma")
    variables = [variable(1.0, name=name) for name in names]
    optimizer = made(variables, learning_rate=0.1, momentum=momentum, bias_lr_factor=2.0)
    for _ in range(2):
        step(optimizer, variables, [1.0], [1.0], [1.0])
    moved = [1.0 - np.asarray(v).item() for v in variables]
    way = 0.1 + 0.1 * (1.0 + momentum)  # of a kernel in two steps
    np.testing.assert_allclose(moved, [way, 2 * way, way], rtol=1e-5)
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.bias_rate == 2.0


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_what_another_optimizer_decays_is_left_alone(name):
    mine, others = variable([1.0]), variable([1.0])
    config = OptimizerConfig(**PLAIN | {"name": name, "learning_rate": 0.1, "weight_decay": 0.5})
    optimizer = optimizers.make(config, config.learning_rate, [mine, others], undecayed=[others])
    step(optimizer, [mine, others], [[0.0]], [[0.0]])
    np.testing.assert_allclose(
        [np.asarray(mine).item(), np.asarray(others).item()], [0.95, 1.0], rtol=1e-6
    )


def test_weight_decay_is_as_strong_as_decay_through_the_momentum():
    (weight,) = variables = [variable([1.0], name="kernel")]
    settings = {"name": "sgd", "learning_rate": 1e-2, "momentum": 0.9, "weight_decay": 0.01}
    optimizer = made(variables, **settings)
    for _ in range(300):
        step(optimizer, variables, [[0.0]])
    # SGD on the gradient 0.01 * weight, as Caffe and PyTorch do it.
    theirs, velocity = 1.0, 0.0
    for _ in range(300):
        velocity = 0.9 * velocity + 0.01 * theirs
        theirs -= 1e-2 * velocity
    # The momentum takes its first ten steps to come up.
    np.testing.assert_allclose(1 - np.asarray(weight).item(), 1 - theirs, rtol=0.05)


def test_each_sub_model_has_an_optimizer_built_for_its_own_variables():
    mine, other = variable(1.0), variable(1.0)
    optimizer = made([mine], learning_rate=0.1)
    assert optimizer.built
    with pytest.raises((ValueError, KeyError)):
        step(optimizer, [other], [1.0])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_scaled_losses_give_the_same_steps_and_a_gradient_that_is_not_finite_halves_the_scale(name):
    def trained(wrap):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        model.layers[0].kernel.assign([[0.5], [-0.25]])
        optimizer = made(model.trainable_variables, name=name, learning_rate=0.1, momentum=0.9)
        model.compile(wrap(optimizer), "mse")
        x, y = np.array([[1.0, 2.0]], "float32"), np.array([[3.0]], "float32")
        weights = []
        for factor in (1.0, np.inf, 1.0):
            model.train_on_batch(factor * x, y)
            weights.append(model.layers[0].kernel.numpy())
        return model.optimizer, weights

    _, plain = trained(lambda optimizer: optimizer)
    scaled, weights = trained(optimizers.LossScale)
    np.testing.assert_allclose(weights, plain, rtol=1e-5)
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])
    assert float(scaled.dynamic_scale) == scaled.initial_scale / 2
    assert int(scaled.iterations) == 2


def test_adam_with_decay_is_keras_adamw():
    own, theirs = variable([1.0, -2.0], [3.0, 0.5]), variable([1.0, -2.0], [3.0, 0.5])
    optimizer = made([own], name="adam", learning_rate=0.01, weight_decay=0.1)
    adamw = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    adamw.build([theirs])
    for number in range(3):
        gradient = [[0.3 * number, -1.0], [2.0, 0.1]]
        step(optimizer, [own], gradient)
        step(adamw, [theirs], gradient)
    np.testing.assert_allclose(np.asarray(own.value), np.asarray(theirs.value), rtol=1e-6)
