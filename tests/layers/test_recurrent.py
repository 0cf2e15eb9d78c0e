"""The two recurrent layers against the equations written out in NumPy."""

import keras
import numpy as np
from scipy.special import expit

from cmpc_tf2.layers.basic_lstm import BasicLSTM
from cmpc_tf2.layers.conv_lstm import PeepholeConvLSTM


def test_basic_lstm_follows_the_equations(rng):
    batch, steps, width, units = 2, 4, 3, 5
    x = rng.normal(size=(batch, steps, width)).astype("float32")
    is_word = np.array([[False, False, True, True], [True, True, True, True]])
    layer = BasicLSTM(units)
    layer.build(x.shape)
    kernel = rng.normal(size=(width + units, 4 * units)).astype("float32")
    bias = rng.normal(size=4 * units).astype("float32")
    layer.kernel.assign(kernel)
    layer.bias.assign(bias)

    expected = np.zeros((batch, steps, units))
    for sample in range(batch):
        h = c = np.zeros(units)
        for step in range(steps):
            if is_word[sample, step]:
                i, j, f, o = np.split(np.concatenate([x[sample, step], h]) @ kernel + bias, 4)
                c = c * expit(f + 1) + expit(i) * np.tanh(j)
                h = expit(o) * np.tanh(c)
                expected[sample, step] = h
    np.testing.assert_allclose(layer(x, is_word), expected, atol=1e-6)


def test_conv_lstm_follows_the_equations(rng):
    shape, channels, filters = (2, 3, 4), 5, 6
    maps = [rng.normal(size=(*shape, channels)).astype("float32") for _ in range(3)]
    layer = PeepholeConvLSTM(filters)
    layer(maps)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))
    weights = {v.path.split("/", 1)[1]: keras.ops.convert_to_numpy(v) for v in layer.weights}

    def norm(name, value):
        value = value - value.mean(axis=(1, 2, 3), keepdims=True)
        value /= np.sqrt((value**2).mean(axis=(1, 2, 3), keepdims=True) + 1e-12)
        return value * weights[f"norm_{name}/gamma"] + weights[f"norm_{name}/beta"]

    h = c = np.zeros((*shape, filters))
    for x in maps:
        j, i, f, o = np.split(np.concatenate([x, h], axis=-1) @ weights["kernel"], 4, axis=-1)
        i, f = i + weights["peephole_i"] * c, f + weights["peephole_f"] * c
        j, i, f = norm("j", j), norm("i", i), norm("f", f)
        c = c * expit(f + 1) + expit(i) * np.tanh(j)
        o, c = norm("o", o + weights["peephole_o"] * c), norm("c", c)
        h = expit(o) * np.tanh(c)
    np.testing.assert_allclose(layer(maps), h, atol=1e-5)
