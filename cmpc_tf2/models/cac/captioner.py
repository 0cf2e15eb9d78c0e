"""The captioner, which predicts the sentence from the weighted feature map. Only training uses it."""

import keras
from keras import layers, ops

from cmpc_tf2.models.cac.config import CaptionerConfig
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.phrases import dense

# Cells along a side of the grid that the captioner looks at.
GRID = 14


def pool_to_grid(features, size: int = GRID):
    """Adaptive average pooling: cell i of a side is the mean of `floor(i n / size)` to `ceil((i + 1) n / size)`.

    Bins overlap where the map is no multiple of the grid. A map smaller than the grid is enlarged.

    Args:
        features: `(B, h, w, C)`.
        size: Cells along a side of the grid.

    Returns:
        `(B, size, size, C)`.
    """
    _, height, width, channels = ops.shape(features)
    rows, columns = (_bins(side, size, features.dtype) for side in (height, width))
    pooled = ops.matmul(rows, ops.reshape(features, (-1, height, width * channels)))
    return ops.matmul(columns, ops.reshape(pooled, (-1, size, width, channels)))


def _bins(length, size: int, dtype):
    """The weights of the positions of a side in its bins, `(size, length)`; every row sums to 1."""
    bins, positions = ops.arange(size)[:, None], ops.arange(length)[None]
    first, last = bins * length // size, -(-(bins + 1) * length // size)
    inside = ops.cast((positions >= first) & (positions < last), dtype)
    return inside / ops.cast(last - first, dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Captioner(layers.Layer):
    """Probabilities of the words of a sentence, each given the words before it and the cells of a picture ("att2in2").

    For a word x, with `(h, c)` from zero:

        e = alpha_net(tanh(ctx2att(cells) + h2att(h))),    z = sum softmax(e) cells
        i, f, o, g = split(i2h(x) + h2h(h)),    g = maxout(g + a2c(z))
        c' = sigmoid(f) c + sigmoid(i) g,    h' = sigmoid(o) tanh(c')

    The first input is word 0, the last target is word 0 too.

    Source: `Att2in2Core` and `AttModel._forward` in `lib/caption_models/AttModel.py` of wenz116/lang2seg (commit
    3af9a47); Rennie et al., CVPR 2017.

    Args:
        config: Sizes, a `CaptionerConfig` or its `to_dict()`.
        words: Words that can be said. Ids are those of the model that reads the sentence; the last one never occurs.
        dropout: Share of values dropped in training, of cells, words and outputs.

    Call arguments:
        cells: `(B, N, C)`.
        token_ids: int32 `(B, T)`, padded on the right with 0.

    Returns:
        Logarithms of probabilities, `(B, T + 1, words)`: row t is the prediction of word t.
    """

    def __init__(self, config: CaptionerConfig | dict, words: int, dropout: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, CaptionerConfig) else CaptionerConfig(**config)
        self.words = words
        options = {"dtype": self.dtype_policy}
        self.cell_dropout = layers.Dropout(dropout, **options, name="cell_dropout")
        self.word_dropout = layers.Dropout(dropout, **options, name="word_dropout")
        self.output_dropout = layers.Dropout(dropout, **options, name="output_dropout")

    def build(self, cells_shape, token_ids_shape=None):
        units, word_dim, attention_dim = self.config.units, self.config.word_dim, self.config.attention_dim
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.embed = layers.Embedding(self.words, word_dim, normal, dtype=self.dtype_policy, name="embed.0")
        self.embed.build(token_ids_shape)
        self.att_embed = self._dense(units, cells_shape[-1], "att_embed.0")
        self.ctx2att = self._dense(attention_dim, units, "ctx2att")
        self.h2att = self._dense(attention_dim, units, "core.attention.h2att")
        self.alpha_net = self._dense(1, attention_dim, "core.attention.alpha_net")
        self.i2h = self._dense(5 * units, word_dim, "core.i2h")
        self.h2h = self._dense(5 * units, units, "core.h2h")
        self.a2c = self._dense(2 * units, units, "core.a2c")
        self.logit = self._dense(self.words, units, "logit")

    def _dense(self, units: int, inputs: int, name: str) -> layers.Dense:
        layer = dense(units, inputs, name, dtype=self.dtype_policy)
        layer.build((None, inputs))
        return layer

    def call(self, cells, token_ids, training=None):
        cells = self.cell_dropout(ops.relu(self.att_embed(cells)), training=training)
        keys = self.ctx2att(cells)
        said = ops.pad(token_ids, [[0, 0], [1, 0]])
        words = self.word_dropout(ops.relu(self.embed(said)), training=training)
        h = c = ops.zeros_like(cells[:, 0])
        states = []
        for from_word in ops.unstack(self.i2h(words), axis=1):
            h, c = self._step(from_word, h, c, cells, keys)
            states.append(h)
        outputs = self.output_dropout(ops.stack(states, axis=1), training=training)
        return ops.log_softmax(self.logit(outputs), axis=-1)

    def _step(self, from_word, h, c, cells, keys):
        """The next state."""
        energies = self.alpha_net(ops.tanh(keys + self.h2att(h)[:, None]))[..., 0]  # (B, N)
        seen = ops.matmul(ops.softmax(energies, axis=-1)[:, None], cells)[:, 0]
        i, f, o, first, second = ops.split(from_word + self.h2h(h), 5, axis=-1)
        first_seen, second_seen = ops.split(self.a2c(seen), 2, axis=-1)
        g = ops.maximum(first + first_seen, second + second_seen)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * g
        return ops.sigmoid(o) * ops.tanh(c), c

    def get_config(self):
        config = {"config": self.config.to_dict(), "words": self.words, "dropout": self.word_dropout.rate}
        return {**super().get_config(), **config}
