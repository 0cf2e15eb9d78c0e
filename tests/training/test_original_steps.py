"""Eight training steps of the original, step by step."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.conversion.names.cmpc import cmpc_pairs
from cmpc_tf2.model_files import load_model
from cmpc_tf2.recipes import cmpc
from cmpc_tf2.recipes.losses import SummedCrossEntropy, is_decayed, weight_decay
from cmpc_tf2.recipes.optimizers import BiasDoublingAdam, is_doubled, polynomial_schedule
from cmpc_tf2.training.checkpoints import OptimizerState
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer
from convert_tf1_ckpt import main
from original import write_checkpoint
from small import subtract_mean

STEPS = 8
# A bias that a softmax cancels: its gradient is rounding noise, there and here.
NOISE = 1e-6


@pytest.fixture(scope="module")
def model(tiny_conversion):
    """A model for this module alone, because it is trained."""
    return load_model(tiny_conversion[0])


@pytest.fixture(scope="module")
def trained(model):
    return cmpc.CMPC.trained_variables(model, False)


@pytest.fixture(scope="module")
def batches(tiny_golden):
    def batch(sample):
        image = subtract_mean(tiny_golden[f"{sample}/image"])[None]
        inputs = {"image": tf.constant(image), "token_ids": tf.constant(tiny_golden[f"{sample}/words"][None])}
        return inputs, tf.constant(tiny_golden[f"{sample}/mask"][None, ..., None], tf.float32)

    return [batch(step % 4) for step in range(STEPS)]


def by_tf1_name(model, values_by_path: dict) -> dict[str, np.ndarray]:
    """Values of Keras weights under the names of TensorFlow 1; the heads of MUTAN are separate."""
    values = {}
    for pair in cmpc_pairs(model.config):
        if pair.keras in values_by_path:
            value = keras.ops.convert_to_numpy(values_by_path[pair.keras])
            values[pair.tf1] = value if pair.block is None else np.split(value, pair.block[1], axis=-1)[pair.block[0]]
    return values


def decay_of(variables) -> tf.Tensor:
    return tf.add_n([weight_decay(variable) for variable in variables if is_decayed(variable.path)])


@pytest.fixture(scope="module")
def run(model, trained, batches):
    """Trains; returns gradients of the first step, a row of losses per step, and the trained weights."""
    optimizer = BiasDoublingAdam(polynomial_schedule(0.00025, 800_000))
    loss = SummedCrossEntropy()
    optimizer.build(trained)

    @tf.function(autograph=False)
    def step(inputs, mask):
        with tf.GradientTape() as tape:
            out = model(inputs, training=True)
            parts = {name: loss(mask, out[name]) for name in cmpc.CMPC.loss_weights}
            weighted = sum(cmpc.CMPC.loss_weights[name] * part for name, part in parts.items())
            l2 = decay_of(trained)
            total = weighted + l2
        gradients = tape.gradient(total, trained)
        rate = tf.identity(optimizer.learning_rate)
        optimizer.apply(gradients)
        order = ("mask_logits", "mask_logits_c5", "mask_logits_c4", "mask_logits_c3")
        losses = [*(parts[name] for name in order), weighted, l2, total, rate]
        return losses, [tf.convert_to_tensor(gradient) for gradient in gradients]

    rows, first = [], None
    for inputs, mask in batches:
        row, gradients = step(inputs, mask)
        rows.append([float(value) for value in row])
        if first is None:
            first = {v.path: g.numpy() for v, g in zip(trained, gradients, strict=True)}
    return by_tf1_name(model, first), np.array(rows), by_tf1_name(model, {v.path: v for v in trained})


def test_trained_variables_are_the_originals(model, trained, tiny_golden):
    names = by_tf1_name(model, {v.path: v for v in trained})
    assert sorted(names) == sorted(tiny_golden["train/variable_names"])


def test_gradients_of_the_first_step(run, tiny_golden):
    gradients = run[0]
    for name, expected in zip(
        tiny_golden["train/variable_names"], tiny_golden["train/gradient_norms_step0"], strict=True
    ):
        if expected >= NOISE:
            tolerance = 1e-4 if expected >= 1e-2 else 1e-3
            assert np.linalg.norm(gradients[name]) == pytest.approx(expected, rel=tolerance), name


def test_losses_and_rates_of_eight_steps(run, tiny_golden, parity):
    expected = tiny_golden["train/trajectory"]
    parity.within(
        "image model: losses of eight training steps, relative",
        run[1][:, :-1] / expected[:, :-1],
        np.ones((8, 7)),
        1e-5,
    )
    np.testing.assert_allclose(run[1][:, -1], expected[:, -1], rtol=2e-7)


def test_weights_after_eight_steps(run, tiny_golden, parity):
    names, first_norms = tiny_golden["train/variable_names"], tiny_golden["train/gradient_norms_step0"]
    norms, firsts = tiny_golden["train/variable_norms_end"], tiny_golden["train/variable_first_end"]
    for name, first_norm, norm, first in zip(names, first_norms, norms, firsts, strict=True):
        if first_norm >= NOISE:
            found = np.linalg.norm(run[2][name])
            parity.within(
                "image model: norms of the weights after them, relative", found, norm, 1e-5, scale=norm, name=name
            )
            # Only here does the doubling of bias gradients show, in the sixth digit.
            assert run[2][name].ravel()[0] == pytest.approx(first, abs=5e-7), name


def test_prediction_after_eight_steps(run, model, batches, tiny_golden, parity):
    score = keras.Model(model.expression_decoder.inputs, model.expression_decoder.get_layer("score").output)
    features = model.image_encoder(batches[0][0]["image"])
    inputs = [features.get(tensor.name, batches[0][0]["token_ids"]) for tensor in score.inputs]
    parity.within("image model: coarse logits after them", score(inputs)[0], tiny_golden["train/pred_end"], 1e-5)


def totals_of(trainer, batches) -> list[float]:
    """Takes a step on each batch, as `fit` does; returns the losses."""
    totals = []
    for inputs, mask in batches:
        trainer.reset_metrics()
        totals.append(float(trainer.train_on_batch(inputs, mask, return_dict=True)["loss"]))
    return totals


@pytest.mark.slow
def test_training_resumes_from_a_tf1_checkpoint(tiny_conversion, tiny_values, tiny_golden, batches, tmp_path):
    """Through the compiled trainer: four steps, a checkpoint as TensorFlow 1 writes it, then the other four."""
    config = TrainConfig("unc", "train")
    model = load_model(tiny_conversion[0])
    trainer = Trainer(model, config)
    totals = totals_of(trainer, batches[:4])

    state = {variable.path: keras.ops.convert_to_numpy(variable) for variable in trainer.optimizer.variables}
    values = {name: value for name, value in tiny_values.items() if "/Adam" not in name}
    values |= {"text_objseg/Variable_1": np.float32(4)}
    values |= {"text_objseg/beta1_power": np.float32(0.9**5), "text_objseg/beta2_power": np.float32(0.999**5)}
    trained = {v.path: v for v in trainer.trainable_variables}
    for slot, name in (("momentum", "/Adam"), ("velocity", "/Adam_1"), (None, "")):
        of_slot = {path: state[f"adam/{path.replace('/', '_')}_{slot}"] if slot else v for path, v in trained.items()}
        for variable, value in by_tf1_name(model, of_slot).items():
            values[f"text_objseg/{variable}{name}" if slot else variable] = value.reshape(tiny_values[variable].shape)
    write_checkpoint(tmp_path / "unc_iter_4.tfmodel", values)

    options = ["--output", str(tmp_path / "4.keras"), "--optimizer", str(tmp_path / "4.npz")]
    report = ["--report", str(tmp_path / "4.json")]
    assert main(["--checkpoint", str(tmp_path / "unc_iter_4.tfmodel"), *options, *report]) == 0
    report = json.loads((tmp_path / "4.json").read_text())
    assert report["ignored"] == [] and len(report["optimizer"]) == 3 + 2 * 215
    trainer = Trainer(load_model(tmp_path / "4.keras"), config)
    OptimizerState.from_file(tmp_path / "4.npz").restore(trainer.optimizer)
    totals += totals_of(trainer, batches[4:])
    columns = tiny_golden["train/columns"].tolist()
    np.testing.assert_allclose(totals, tiny_golden["train/trajectory"][:, columns.index("total")], rtol=1e-5)


def test_the_loss_of_a_batch_is_the_mean_of_its_samples(rng):
    loss = SummedCrossEntropy()
    mask = (rng.random((3, 4, 5, 1)) < 0.5).astype("float32")
    logits = rng.normal(0, 3, size=mask.shape).astype("float32")
    probabilities = 1 / (1 + np.exp(-logits.astype(float)))
    expected = -(mask * np.log(probabilities) + (1 - mask) * np.log(1 - probabilities)).sum(axis=(1, 2, 3))
    assert float(loss(mask, logits)) == pytest.approx(expected.mean(), rel=1e-6)
    alone = [float(loss(mask[i : i + 1], logits[i : i + 1])) for i in range(3)]
    np.testing.assert_allclose(alone, expected, rtol=1e-6)
    assert np.isfinite(loss(mask, 1e30 * logits))


def test_which_weights_are_decayed_and_doubled(model):
    """By the original's names: `DW` and `weights` decay, `biases` are doubled."""
    for pair in cmpc_pairs(model.config):
        last = pair.tf1.rsplit("/", 1)[-1]
        assert is_decayed(pair.keras) == (last in ("DW", "weights")), pair
        assert is_doubled(pair.keras) == (last == "biases"), pair


def test_doubling_is_of_gradients_before_adam():
    """With a large epsilon Adam does not cancel the doubling."""
    moved = {}
    for name in ("kernel", "bias"):
        layer = keras.layers.Dense(1, name="dense")
        layer.build((None, 1))
        variable = getattr(layer, name)
        variable.assign(np.zeros(variable.shape))
        optimizer = BiasDoublingAdam(0.1, epsilon=1e3)
        optimizer.apply([np.ones(variable.shape, "float32")], [variable])
        moved[name] = float(np.ravel(variable)[0])
    assert moved["bias"] == pytest.approx(2 * moved["kernel"], rel=1e-2)


def test_a_finetuned_backbone_moves_its_kernels_and_never_its_batch_norms(small_model_file, rng):
    model = load_model(small_model_file)
    variables = cmpc.CMPC.trained_variables(model, True)
    side = model.config.image_size
    backbone = model.image_encoder.get_layer("backbone")
    before = {v.path: keras.ops.convert_to_numpy(v) for v in backbone.variables}
    optimizer = BiasDoublingAdam(1e-3)
    inputs = {
        "image": rng.normal(0, 50, size=(2, side, side, 3)).astype("float32"),
        "token_ids": np.array([[0] * 17 + [4, 5, 6], [0] * 19 + [3]], "int32"),
    }
    with tf.GradientTape() as tape:
        out = model(inputs, training=True)
        total = SummedCrossEntropy()(np.ones((2, side, side, 1), "float32"), out["mask_logits"]) + decay_of(variables)
    optimizer.apply(tape.gradient(total, variables), variables)
    trained = {v.path for v in variables} & set(before)
    assert trained == {path for path in before if path.startswith(("res3", "res4", "res5"))}
    for variable in backbone.variables:
        moved = (variable.numpy() != before[variable.path]).any()
        assert moved == (variable.path in trained), variable.path
