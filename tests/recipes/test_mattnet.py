"""Training of MAttNet against six steps of the original, with its draws."""

import contextlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cmpc_tf2.conversion.names.mattnet import mattnet_pairs
from cmpc_tf2.models.mattnet.matching_network import MatchingNetwork
from cmpc_tf2.recipes.clipped_adam import ClippedAdam, LateExponentialDecay
from cmpc_tf2.recipes.mattnet import (
    MAttNetRecipe,
    RankingAccuracy,
    attribute_loss,
    attribute_weights,
    ranking_loss,
)
from mattnet_original import TINY, assign_by_rule, network_inputs, read_data, read_golden, rows_of

RECIPE = MAttNetRecipe()
# Ends of names of parameters whose gradient is zero in exact arithmetic: what is found is rounding.
NOISE = (
    "emb_fc.0.bias", "emb_fc.4.bias", "att_fuse.0.bias", "loc_encoder.fc.bias", "rel_encoder.fc.bias",
    "_attn.fc.bias", "attn_fuse.2.bias",
)  # fmt: skip
STEPS = range(6)


class Run:
    """What the optimizer needs of a run."""

    decay_steps, steps, initial_rate = None, 30_000, 4e-4


@contextlib.contextmanager
def building_in(dtype: str):
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def without_dropout(dtype: str = "float32") -> MatchingNetwork:
    """The network by the rule, as the goldens of training have it."""
    with building_in(dtype):
        network = MatchingNetwork(TINY, name="mattnet")
    assign_by_rule(network)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return network


def batch_of(step: int, dtype: str = "float32") -> tuple[dict, dict]:
    """The rows that the original drew, and their targets."""
    golden = read_golden()
    fitting, others = (golden[f"train/{step}/{name}"].tolist() for name in ("ref_ann_ids", "neg_ann_ids"))
    boxes, rows = np.unique([*fitting, *others, *fitting], return_inverse=True)
    inputs = {name: tf.constant(value, dtype) for name, value in rows_of(boxes.tolist()).items() if name != "rows"}
    inputs["rows"] = tf.constant(rows, tf.int32)
    sentences, other_sentences = (golden[f"train/{step}/{name}"] for name in ("ref_sent_ids", "neg_sent_ids"))
    token_ids = golden["labels"][np.concatenate([sentences, sentences, other_sentences])]
    inputs["token_ids"] = tf.constant(token_ids, tf.int32)
    data = read_data()
    references = {reference.annotation_id: number for number, reference in data.references.items()}
    labels = np.stack([data.attribute_labels(references[box]) for box in fitting])
    return inputs, {"attributes": labels, "attribute_weights": attribute_weights(data.attribute_counts)}


def take_losses(network, inputs: dict, target: dict, variables: list) -> tuple:
    """Loss, its parts, scores and gradients."""
    with tf.GradientTape() as tape:
        ((loss, parts, scores),) = RECIPE.losses(lambda x: network(x, training=True), inputs, target, 1.0)
    return loss, parts, np.asarray(scores), [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]


def norms_of(variables, values) -> dict[str, float]:
    """Norms of values of variables by the original's names."""
    names = {pair.keras: pair.torch for pair in mattnet_pairs(TINY)}
    squares: dict[str, float] = {}
    for variable, value in zip(variables, values, strict=True):
        name = names[variable.path]
        squares[name] = squares.get(name, 0) + float(np.sum(np.square(np.asarray(value, np.float64))))
    return {name: square**0.5 for name, square in squares.items()}


def assert_norms(parity, what: str, found: dict[str, float], key: str, tolerance: float = 1e-5):
    golden = read_golden()
    expected = dict(zip(golden["train/variable_names"].astype(str), golden[key], strict=True))
    assert found.keys() == expected.keys() and len(expected) == 89
    compared = {name for name in found if not name.endswith(NOISE)}
    assert len(found) - len(compared) == 19
    for name in compared:
        parity.within(what, found[name], expected[name], tolerance, max(expected[name], 1e-12), name)


@pytest.fixture(scope="module", params=["float32", "float64"])
def trained(request):
    """A network after the six steps, and what was found on the way."""
    network = without_dropout(request.param)
    variables = RECIPE.trained_variables(network, False)
    with building_in(request.param):
        optimizer = RECIPE.make_optimizer(Run())
        optimizer.build(variables)
    steps = []
    for step in STEPS:
        loss, parts, scores, gradients = take_losses(network, *batch_of(step, request.param), variables)
        steps.append({"loss": float(loss), "parts": parts, "scores": scores, "gradients": gradients})
        optimizer.apply(gradients)
    return network, steps


@pytest.mark.parametrize("step", STEPS)
def test_losses_and_scores(step, trained, parity):
    golden, found = read_golden(), trained[1][step]
    assert golden["train/columns"].astype(str).tolist() == ["loss", "ranking", "attributes"]
    loss, ranking, attributes = golden["train/trajectory"][step]
    for value, expected in (
        (found["loss"], loss),
        (found["parts"]["ranking_loss"], ranking),
        (found["parts"]["attribute_loss"], attributes),
    ):
        parity.within("MAttNet, training: losses", float(value), expected, 2e-6, loss)
    parity.within("MAttNet, training: scores", found["scores"][:, 0], golden[f"train/{step}/scores"], 4e-6)


def test_gradients_before_and_after_clipping(trained, parity):
    network, steps = trained
    gradients = steps[0]["gradients"]
    found = norms_of(network.trainable_variables, gradients)
    assert_norms(parity, "MAttNet, training: norms of gradients", found, "train/gradient_norms_step0")
    clipped = norms_of(network.trainable_variables, [np.clip(gradient, -0.1, 0.1) for gradient in gradients])
    assert_norms(parity, "MAttNet, training: norms of gradients", clipped, "train/gradient_norms_step0_clipped")
    assert any(clipped[name] < 0.9 * found[name] for name in found)


def test_weights_and_statistics_at_the_end(trained, parity):
    network, golden = trained[0], read_golden()
    found = norms_of(network.trainable_variables, network.trainable_variables)
    assert_norms(parity, "MAttNet, training: norms of weights", found, "train/variable_norms_end")
    names = {pair.keras: pair.torch for pair in mattnet_pairs(TINY)}
    statistics = {names[v.path]: np.asarray(v) for v in network.non_trainable_variables if "/running_" in v.path}
    assert {f"train/end/{name}" for name in statistics} == {name for name in golden if name.startswith("train/end/")}
    for name, value in statistics.items():
        expected = golden[f"train/end/{name}"]
        # The means move with the biases before them, whose gradients are rounding alone.
        tolerance = 1e-5 if name.endswith("running_var") else 2e-3
        scale = max(np.abs(expected).max(), 1)
        parity.within("MAttNet, training: statistics", value, expected, tolerance, scale, name)
    outputs = network.decode(network.encode(network_inputs(11)), golden["labels"][:1])
    parity.within(
        "MAttNet, training: scores at the end", np.asarray(outputs["scores"])[0], golden["train/scores_end"], 2e-4
    )


def test_the_original_runs_eval_on_running_variances_of_n_minus_1(trained):
    """The smallest batch, of sentences, has 36 rows: n / (n - 1) is 1.03, which the tolerance above would show."""
    name = "sub_matching.lang_emb_fc.1/running_var"
    (variable,) = (v for v in trained[0].non_trainable_variables if v.path == name)
    assert 0.1 * np.asarray(variable).max() / 35 > 1e-4


def test_ranking_loss():
    scores = np.array([[0.5], [0.2], [0.45], [0.9], [-0.5], [0.15]], "float32")
    assert float(ranking_loss(ops.convert_to_tensor(scores))) == pytest.approx((0.05 + 0.8 + 0.05) / 2)
    scores[:2] = 2
    assert float(ranking_loss(ops.convert_to_tensor(scores))) == 0


def test_attribute_loss():
    logits = np.array([[0.0, 2.0], [1.0, -1.0], [3.0, 3.0]], "float32")
    labels, weights = np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.array([1, 10], "float32")
    entropies = [np.log(2), 10 * np.log1p(np.exp(2)), np.log1p(np.exp(1)), 10 * np.log1p(np.exp(1))]
    found = attribute_loss(ops.convert_to_tensor(logits), labels, weights)
    assert float(found) == pytest.approx(np.mean(entropies), rel=1e-6)
    assert float(attribute_loss(ops.convert_to_tensor(logits), 0 * labels, weights)) == 0
    extreme = attribute_loss(ops.convert_to_tensor(logits * 1e4), labels, weights)
    assert np.isfinite(float(extreme))


def test_attribute_weights(parity):
    golden = read_golden()["train/attribute_weights"]
    parity.within(
        "MAttNet, training: attribute weights", attribute_weights([900, 450, 300, 77, 40, 12, 5]), golden, 1e-6
    )
    assert attribute_weights([4, 16]).tolist() == [10, 1]
    assert attribute_weights([7, 7, 7]).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "step, rate", [(0, 1), (1, 1), (8000, 1), (8001, 1), (8002, 0.1 ** (1 / 8000)), (16_001, 0.1), (24_001, 0.01)]
)
def test_schedule(step, rate):
    """The original sets the rate of an iteration behind it: that of iteration 8001 is used by step 8002, from 0."""
    schedule = RECIPE.make_optimizer(Run())._learning_rate
    assert float(schedule(step)) == pytest.approx(4e-4 * rate, rel=1e-6)


def test_schedule_and_optimizer_are_saved():
    schedule = LateExponentialDecay(0.1, start=3, every=10)
    assert float(LateExponentialDecay.from_config(schedule.get_config())(14)) == pytest.approx(0.01)
    optimizer = ClippedAdam.from_config(ClippedAdam(0.1, clip=0.5).get_config())
    assert (optimizer.clip, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.5, 0.8, 0.999, 1e-8)


def test_elements_are_clipped_before_adam():
    """Two steps by hand: the second moment shows what was clipped."""
    weight = keras.Variable(np.zeros(3, "float32"))
    optimizer = ClippedAdam(learning_rate=0.01)
    optimizer.build([weight])
    gradients = np.array([[0.05, 5.0, -0.2], [-0.02, 0.1, 0.3]], "float32")
    expected, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    for step, gradient in enumerate(gradients, start=1):
        optimizer.apply([ops.convert_to_tensor(gradient)])
        clipped = np.clip(gradient.astype(float), -0.1, 0.1)
        first, second = 0.8 * first + 0.2 * clipped, 0.999 * second + 0.001 * clipped**2
        expected -= 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.8**step) * first / (np.sqrt(second) + 1e-8)
    np.testing.assert_allclose(weight, expected, rtol=1e-4)


def test_rows_of_a_table_without_a_gradient_keep_moving():
    table = keras.Variable(np.zeros((3, 2), "float32"))
    optimizer = ClippedAdam(learning_rate=0.01)
    optimizer.build([table])
    optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([3, 2]))])
    before = ops.convert_to_numpy(table)
    optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), tf.constant([3, 2]))])
    moved = ops.convert_to_numpy(table) != before
    assert moved.tolist() == [[False] * 2, [True] * 2, [True] * 2]


DEVICES_SCRIPT = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cmpc_tf2.recipes.clipped_adam import ClippedAdam

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    weight = keras.Variable(np.zeros(2, "float32"))
    optimizer = ClippedAdam(learning_rate=0.01)
    optimizer.build([weight])
shares = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant([[0.08, 0.02], [0.12, 0.03]][context.replica_id_in_sync_group])
)
tf.function(lambda: strategy.run(lambda gradient: optimizer.apply([gradient]), args=(shares,)))()
np.testing.assert_allclose(optimizer._momentums[0].numpy(), [0.2 * 0.1, 0.2 * 0.05], rtol=1e-5)
"""


@pytest.mark.slow
def test_gradients_of_several_devices_are_summed_before_they_are_clipped():
    """Of two devices with 0.08 and 0.12 of an element, clipping each share would give 0.18."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", DEVICES_SCRIPT], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_accuracy():
    metric = RankingAccuracy()
    metric.update_state(None, np.array([[0.5], [0.2], [0.45], [0.9], [-0.5], [0.15]], "float32"))
    assert float(metric.result()) == 0.5


def test_interface(eagerly):
    network = without_dropout()
    assert len(RECIPE.trained_variables(network, False)) == 90
    assert (RECIPE.steps, RECIPE.batch_size, RECIPE.learning_rate) == (30_000, 15, 4e-4)
    assert RECIPE.make_metric().name == "ranking_accuracy"
