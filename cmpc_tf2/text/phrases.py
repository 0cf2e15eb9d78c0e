"""The language encoder of MAttNet, CAC and SL-Att.: a bidirectional LSTM, and attention to the words of a phrase."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.torch_normalization import unit_length
from cmpc_tf2.layers.transformer import fan_in_uniform
from cmpc_tf2.registration import PACKAGE

# Ends of the names of the two directions' weights.
DIRECTIONS = ("l0", "l0_reverse")


def dense(units: int, inputs: int, name: str, **options) -> layers.Dense:
    """A dense layer with PyTorch's initial weights.

    Args:
        units: Channels of the output.
        inputs: Channels of the input.
        name: Name of the layer.
        options: Further arguments of `keras.layers.Dense`.
    """
    initializers = {name: fan_in_uniform(inputs) for name in ("kernel_initializer", "bias_initializer")}
    return layers.Dense(units, **initializers, name=name, **options)


@keras.saving.register_keras_serializable(package=PACKAGE)
class BidirectionalLSTM(layers.Layer):
    """An LSTM in both directions over right-padded sentences, as `torch.nn.LSTM` over packed ones.

    One step, with gates in the order i, f, g, o:

        i, f, g, o = split(x weight_ih + bias_ih + h weight_hh + bias_hh)
        c' = c * sigmoid(f) + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    The backward direction starts at the last word of each sentence. Both biases are kept: merged into one, they would
    train differently.

    Args:
        units: Width of a direction.

    Call arguments:
        x: `(B, T, C)`.
        is_word: bool `(B, T)`, false at padding.

    Returns:
        `(B, T, 2 units)`, forward and backward; zero at padding.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, x_shape, is_word_shape=None):
        width = 4 * self.units
        shapes = {"weight_ih": (x_shape[-1], width), "weight_hh": (self.units, width)}
        shapes |= {"bias_ih": (width,), "bias_hh": (width,)}
        for direction in DIRECTIONS:
            for name, shape in shapes.items():
                # As attributes: TensorFlow finds no weights in dicts within lists when it saves a graph.
                weight = self.add_weight(shape, fan_in_uniform(self.units), name=f"{name}_{direction}")
                setattr(self, f"{name}_{direction}", weight)

    def call(self, x, is_word):
        steps = range(x.shape[1])
        forward, backward = DIRECTIONS
        found = [self._read(x, is_word, forward, steps), self._read(x, is_word, backward, reversed(steps))]
        return ops.where(is_word[:, :, None], ops.concatenate(found, axis=-1), ops.zeros((), x.dtype))

    def _read(self, x, is_word, direction: str, steps):
        """The states of one direction; at padding, the state does not change."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_ih, weight_hh, bias_ih, bias_hh = (getattr(self, f"{name}_{direction}") for name in names)
        # The input's share of all steps is one product; only the state's share has to be sequential. (Unstacked: the
        # gradient of a slice is as large as the whole.)
        from_input = ops.unstack(ops.matmul(x, weight_ih) + (bias_ih + bias_hh), axis=1)
        c = h = ops.zeros_like(from_input[0][:, : self.units])
        states = {}
        for step in steps:
            i, f, g, o = ops.split(from_input[step] + ops.matmul(h, weight_hh), 4, axis=-1)
            new_c = c * ops.sigmoid(f) + ops.sigmoid(i) * ops.tanh(g)
            is_here = is_word[:, step, None]
            h = ops.where(is_here, ops.sigmoid(o) * ops.tanh(new_c), h)
            c = ops.where(is_here, new_c, c)
            states[step] = h
        return ops.stack([states[step] for step in range(x.shape[1])], axis=1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SentenceEncoder(layers.Layer):
    """Sentences to word vectors and sentence vectors.

    Source: `RNNEncoder` in `lib/layers/lang_encoder.py` of lichengunc/MAttNet (commit 3204d07).

    Args:
        vocabulary_size: Rows of the table of words.
        embedding_dim: Width of its rows.
        word_dim: Width of a word.
        units: Width of a direction of the LSTM.
        dropout: Share of the table's values that training drops.

    Call arguments:
        token_ids: int32 `(B, T)`, padded on the right with 0.

    Returns:
        A dict:
            embedded: `(B, T, word_dim)`, the words alone.
            context: `(B, T, 2 units)`, the words in their sentence; zero at padding.
            sentence: `(B, 2 units)`, the last states of both directions: forward after the last word, backward after
                the first one.
            is_word: bool `(B, T)`.
    """

    def __init__(
        self, vocabulary_size: int, embedding_dim: int, word_dim: int, units: int, dropout: float = 0.5, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.word_dim = word_dim
        self.units = units
        self.dropout = layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, token_ids_shape):
        normal = keras.initializers.RandomNormal(stddev=1.0)
        options = {"dtype": self.dtype_policy}
        self.embedding = layers.Embedding(self.vocabulary_size, self.embedding_dim, normal, **options, name="embedding")
        self.mlp = dense(self.word_dim, self.embedding_dim, "mlp.0", activation="relu", **options)
        self.rnn = BidirectionalLSTM(self.units, **options, name="rnn")
        self.embedding.build(token_ids_shape)
        self.mlp.build((None, token_ids_shape[1], self.embedding_dim))
        self.rnn.build((None, token_ids_shape[1], self.word_dim))

    def call(self, token_ids, training=None):
        length = ops.sum(ops.cast(token_ids != 0, "int32"), axis=1, keepdims=True)
        positions = ops.arange(token_ids.shape[1], dtype="int32")
        embedded = self.mlp(self.dropout(self.embedding(token_ids), training=training))
        is_word = positions < length
        context = self.rnn(embedded, is_word)
        is_last = ops.cast(positions == length - 1, context.dtype)
        of_last = ops.matmul(is_last[:, None], context)[:, 0]
        sentence = self.sentence(of_last, context[:, 0])
        return {"embedded": embedded, "context": context, "sentence": sentence, "is_word": is_word}

    def compute_output_spec(self, token_ids, training=None):
        batch, words = token_ids.shape
        widths = {"embedded": self.word_dim, "context": 2 * self.units}
        found = {name: keras.KerasTensor((batch, words, width), self.compute_dtype) for name, width in widths.items()}
        found["sentence"] = keras.KerasTensor((batch, 2 * self.units), self.compute_dtype)
        return {**found, "is_word": keras.KerasTensor((batch, words), "bool")}

    def sentence(self, of_last, of_first):
        """The vector of the sentence, `(B, 2 units)`, from those of its last and its first word."""
        return ops.concatenate([of_last[:, : self.units], of_first[:, self.units :]], axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "word_dim": self.word_dim,
            "units": self.units,
            "dropout": self.dropout.rate,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class PhraseAttention(layers.Layer):
    """The words that tell about one aspect of the object, as one vector.

    Source: `PhraseAttention` in `lib/layers/lang_encoder.py` of lichengunc/MAttNet (commit 3204d07). There, the softmax
    includes the padding, and what is left of it is divided by its sum: the same up to rounding.

    Args:
        normalize: Whether the vector is scaled to unit length.

    Call arguments:
        context: `(B, T, C)`, which the weights follow from.
        embedded: `(B, T, D)`, which they weight.
        is_word: bool `(B, T)`.

    Returns:
        The vector, `(B, D)`, and the weights, `(B, T)`, zero at padding. A sentence without words has zeros.
    """

    def __init__(self, normalize: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.normalize = normalize

    def build(self, context_shape, embedded_shape=None, is_word_shape=None):
        self.fc = dense(1, context_shape[-1], "fc", dtype=self.dtype_policy)
        self.fc.build(context_shape)

    def call(self, context, embedded, is_word):
        scores = ops.where(is_word, self.fc(context)[..., 0], ops.full((), -1e30, context.dtype))
        weights = ops.softmax(scores, axis=-1) * ops.cast(is_word, scores.dtype)
        phrase = ops.matmul(weights[:, None], embedded)[:, 0]
        return unit_length(phrase) if self.normalize else phrase, weights

    def compute_output_shape(self, context_shape, embedded_shape, is_word_shape):
        return (embedded_shape[0], embedded_shape[-1]), is_word_shape

    def get_config(self):
        return {**super().get_config(), "normalize": self.normalize}
