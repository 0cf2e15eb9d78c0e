import numpy as np
import tensorflow as tf

from cmpc_tf2.layers.deformable_attention import DeformableAttention, sample_levels
from maskris_original import read_golden


def test_sampling_and_its_gradients(parity):
    """Points outside of the maps and on their borders are among them."""
    golden = {name.removeprefix("deform/"): value for name, value in read_golden("extras").items()}
    inputs = {name: tf.constant(golden[name]) for name in ("value", "locations", "weights")}
    with tf.GradientTape() as tape:
        for tensor in inputs.values():
            tape.watch(tensor)
        output = sample_levels(inputs["value"], golden["shapes"].tolist(), inputs["locations"], inputs["weights"])
        loss = tf.reduce_sum(output * golden["upstream"])
    parity.within("Deformable attention: output", output, golden["output"], 1e-5)
    for name, found in tape.gradient(loss, inputs).items():
        parity.within("Deformable attention: gradients", found, golden[f"gradient_{name}"], 1e-5, name=name)


def test_not_a_number_stays_within_the_map(rng):
    value = rng.normal(size=(1, 6, 1, 2)).astype("float32")
    locations = np.full((1, 1, 1, 1, 1, 2), np.nan, "float32")
    found = sample_levels(value, [(2, 3)], locations, np.ones((1, 1, 1, 1, 1), "float32"))
    np.testing.assert_array_equal(found, np.zeros((1, 1, 2)))


def test_initial_points_lie_around_each_cell(rng):
    """Eight heads look in eight directions, and their points are at 1, 2 and 3 cells."""
    layer = DeformableAttention([(4, 5), (2, 3)], heads=8, points=3)
    visual = rng.normal(size=(1, 26, 16)).astype("float32")
    layer(visual, np.zeros((1, 26, 16), "float32"))
    offsets = np.asarray(layer.sampling_offsets.bias).reshape(8, 2, 3, 2)
    np.testing.assert_allclose(offsets[1, 0], [[1, 1], [2, 2], [3, 3]], atol=1e-6)  # 45 degrees
    np.testing.assert_allclose(offsets[6, 1], [[0, -1], [0, -2], [0, -3]], atol=1e-6)
