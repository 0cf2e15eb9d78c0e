"""CMPC's original graph, operation for operation, as the benchmarks' comparison, and as a side of `peers.py`.

Nothing is saved that the original does not save: N x N adjacencies, five separate heads, tiled sentences, batch norms
next to their convolutions, a projection of every cell for every affinity. Like the original it is right for one sample
at a time.

Source: `CMPC_model.py`, `util/cell.py` and `deeplab_resnet/` of CMPC-Refseg, written down anew from what they compute.
"""

import functools
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from counting import count_gflop
from peer_process import answer, make_inputs, parse_side

from cmpc_tf2 import load_model
from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.backbones.deeplab_resnet import BATCH_NORM_EPSILON, DILATIONS, bottleneck_names, convolution_and_norm
from cmpc_tf2.conversion.names.cmpc import cmpc_pairs
from cmpc_tf2.conversion.tf1 import tf1_shape
from cmpc_tf2.conversion.tf1_names import SCOPE
from cmpc_tf2.layers.spatial_grid import spatial_grid
from cmpc_tf2.models.cmpc.config import MUTAN_HEADS
from cmpc_tf2.recipes import cmpc
from cmpc_tf2.recipes.losses import WEIGHT_DECAY
from cmpc_tf2.recipes.optimizers import BiasDoublingAdam, polynomial_schedule


class NaiveGraph:
    """The graph with the weights of a CMPC model, copied.

    Args:
        model: The model.
    """

    def __init__(self, model: keras.Model):
        self.config = model.config
        values = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}
        variables = {}
        for pair in cmpc_pairs(model.config):
            value = values[pair.keras]
            if pair.block is not None:
                value = np.split(value, pair.block[1], axis=-1)[pair.block[0]]
            value = value.reshape(tf1_shape(pair, values[pair.keras].shape))
            variables[pair.tf1] = keras.Variable(value, name=pair.tf1.replace("/", "."))
        self.weights = {name: variable.value for name, variable in variables.items()}
        self.grid = tf.constant(spatial_grid(model.config.grid_size, model.config.grid_size)[None])
        self.trained = [v for name, v in variables.items() if name.startswith(SCOPE)]
        self.decayed = [v for name, v in self.weights.items() if name.startswith(SCOPE) and name.endswith("/DW")]

    def __call__(self, image, token_ids) -> dict[str, tf.Tensor]:
        """Mask logits of one sample, as `CMPC`: image `(1, S, S, 3)`, token ids `(1, T)`."""
        size = self.config.grid_size
        taps = self.backbone(image)
        words = self.read_words(token_ids)
        types = self.conv("words_parse_2", tf.nn.relu(self.conv("words_parse_1", words)))
        types = tf.nn.softmax(types, axis=3)
        entity_attribute = self.pool_words(types[..., 0] + types[..., 1], words)
        necessary = self.pool_words(tf.reduce_sum(types, 3) - types[..., 3], words)

        features, outputs = {}, {}
        for level in reversed(DeepLabResNetConfig.levels):
            visual = tf.nn.l2_normalize(self.conv(f"{level}_lateral", taps[level]), 3)
            entities = self.mutan(level, visual, entity_attribute)
            related = self.reason(level, entities, words, types[..., 2])
            sentence = tf.tile(entity_attribute, [1, size, size, 1])
            everything = tf.concat([entities, related, sentence, self.grid], 3)
            features[level] = tf.nn.relu(self.conv(f"fusion_{level}", everything))
            outputs[f"mask_logits_{level}"] = self.score(f"score_{level}", features[level])
        for suffix in ("", "_2"):
            features = {
                level: self.exchange(level, suffix, features, necessary) for level in DeepLabResNetConfig.levels
            }
        fused = self.conv_lstm([features[level] for level in DeepLabResNetConfig.levels])
        return {"mask_logits": self.score("score", fused), **outputs}

    @functools.cached_property
    def adam(self) -> BiasDoublingAdam:
        """The optimizer; inference does without its memory."""
        adam = BiasDoublingAdam(polynomial_schedule(0.00025, 800_000))
        adam.build(self.trained)
        return adam

    def train_step(self, images, token_ids, masks) -> tf.Tensor:
        """One step with a frozen backbone, every sample by a graph of its own; returns the loss."""
        samples = [[tensor[i : i + 1] for tensor in (images, token_ids, masks)] for i in range(len(images))]
        with tf.GradientTape() as tape:
            logits = [self(image, words) for image, words, _ in samples]
            losses = {
                name: tf.reduce_mean(
                    [
                        tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(mask, outputs[name]))
                        for outputs, (*_, mask) in zip(logits, samples, strict=True)
                    ]
                )
                for name in cmpc.CMPC.loss_weights
            }
            decay = WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(weight) for weight in self.decayed])
            loss = sum(cmpc.CMPC.loss_weights[name] * value for name, value in losses.items()) + decay
        self.adam.apply(tape.gradient(loss, [variable.value for variable in self.trained]))
        return loss

    def conv(self, name: str, x):
        scope = f"{SCOPE}/{name}"
        return tf.nn.conv2d(x, self.weights[f"{scope}/DW"], 1, "SAME") + self.weights[f"{scope}/biases"]

    def layer_norm(self, name: str, x):
        mean, variance = tf.nn.moments(x, axes=list(range(1, len(x.shape))), keepdims=True)
        scope = f"{SCOPE}/{name}"
        gamma, beta = self.weights[f"{scope}/gamma"], self.weights[f"{scope}/beta"]
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)

    def backbone(self, image) -> dict[str, tf.Tensor]:
        def convolve(x, suffix, stride=1, rate=1, relu=True):
            convolution, norm = convolution_and_norm(suffix)
            kernel = self.weights[f"{convolution}/weights"]
            x = tf.nn.atrous_conv2d(x, kernel, rate, "SAME") if rate > 1 else tf.nn.conv2d(x, kernel, stride, "SAME")
            mean, variance, beta, gamma = (
                self.weights[f"{norm}/{name}"] for name in ("moving_mean", "moving_variance", "beta", "gamma")
            )
            x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, BATCH_NORM_EPSILON)
            return tf.nn.relu(x) if relu else x

        x = tf.nn.max_pool2d(convolve(image, "conv1", stride=2), 3, 2, "SAME")
        taps = {}
        for stage, depth in zip((2, 3, 4, 5), self.config.backbone.depths, strict=True):
            rate = DILATIONS.get(stage, 1)
            for index, name in enumerate(bottleneck_names(stage, depth)):
                stride = 2 if stage == 3 and index == 0 else 1
                shortcut = x if index else convolve(x, f"{name}_branch1", stride, relu=False)
                x = convolve(x, f"{name}_branch2a", stride)
                x = convolve(x, f"{name}_branch2b", rate=rate)
                x = tf.nn.relu(shortcut + convolve(x, f"{name}_branch2c", relu=False))
            taps[f"c{stage}"] = x
        return taps

    def read_words(self, token_ids):
        units = self.config.feature_dim
        scope = f"{SCOPE}/RNN/multi_rnn_cell/cell_0/basic_lstm_cell"
        kernel, bias = self.weights[f"{scope}/kernel"], self.weights[f"{scope}/bias"]
        embedded = tf.nn.embedding_lookup(self.weights[f"{SCOPE}/Variable"], token_ids)
        c = h = tf.zeros((1, units))
        outputs = []
        for step in range(self.config.max_words):

            def read(x=embedded[:, step], c=c, h=h):
                i, j, f, o = tf.split(tf.matmul(tf.concat([x, h], 1), kernel) + bias, 4, axis=1)
                new_c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
                new_h = tf.tanh(new_c) * tf.sigmoid(o)
                return new_h, new_c, new_h

            output, c, h = tf.cond(token_ids[0, step] == 0, lambda c=c, h=h: (tf.zeros((1, units)), c, h), read)
            outputs.append(output)
        first = tf.reduce_sum(tf.cast(token_ids[0] == 0, tf.int32))
        words = tf.stack(outputs, axis=1)[:, first:]
        return tf.nn.l2_normalize(words, 2)[:, None]  # (1, 1, words, units)

    def pool_words(self, weights, words):
        pooled = tf.nn.l2_normalize(tf.matmul(weights, words[:, 0]), 2)
        return tf.reshape(pooled, (1, 1, 1, self.config.feature_dim))

    def mutan(self, level: str, visual, sentence):
        heads = []
        for number in range(1, MUTAN_HEADS + 1):
            seen = tf.tanh(self.conv(f"vis_trans_{level}_head{number}", tf.concat([visual, self.grid], 3)))
            heads.append(seen * tf.tanh(self.conv(f"lang_trans_{level}_head{number}", sentence)))
        return tf.nn.l2_normalize(tf.tanh(tf.reduce_sum(tf.stack(heads, axis=4), 4)), 3)

    def reason(self, level: str, entities, words, relation):
        size, channels = self.config.grid_size, self.config.feature_dim
        cells = size * size
        queries = self.conv(f"words_trans_{level}", words)[:, 0]
        keys = tf.reshape(self.conv(f"spa_graph_trans2_{level}", entities), (1, cells, channels))
        affinity = relation * (tf.matmul(keys, queries, transpose_b=True) / channels**0.5)
        adjacency = tf.matmul(tf.nn.softmax(affinity, axis=2), tf.nn.softmax(affinity, axis=1), transpose_b=True)
        messages = tf.matmul(adjacency, tf.reshape(entities, (1, cells, channels)))
        messages = self.layer_norm(f"gconv_feat_ln_spa_graph_{level}", messages[:, None])
        nodes = tf.nn.relu(tf.reshape(entities, (1, 1, cells, channels)) + messages)
        nodes = self.conv(f"gconv_update_spa_graph_{level}", nodes)
        nodes = tf.nn.relu(self.layer_norm(f"gconv_update_ln_spa_graph_{level}", nodes))
        return tf.nn.l2_normalize(tf.reshape(nodes, (1, size, size, channels)), 3)

    def exchange(self, level: str, suffix: str, features: dict, sentence):
        cells, channels = self.config.grid_size**2, self.config.fusion_dim
        tag = f"{level}{suffix}"
        feature = features[level]
        keys = tf.reshape(self.conv(f"spa_graph_key_{tag}gv_f1", feature), (1, cells, channels))
        query = tf.reshape(self.conv(f"lang_query_{tag}gv_f1", sentence), (1, 1, channels))
        attention = tf.nn.softmax(tf.matmul(keys, query, transpose_b=True) / channels**0.5, axis=1)
        pooled = tf.matmul(attention, tf.reshape(feature, (1, cells, channels)), transpose_a=True)
        pooled = tf.concat([tf.reshape(pooled, (1, 1, 1, channels)), sentence], 3)
        context = tf.nn.l2_normalize(self.conv(f"gv_lang_{tag}gv_f1", pooled))
        for number, other in enumerate((other for other in DeepLabResNetConfig.levels if other != level), start=1):
            gate = tf.sigmoid(self.conv(f"lang_feat_{tag}_f{number}", context))
            feature += tf.nn.relu(self.conv(f"trans_feat_{tag}_f{number}", features[other])) * gate
        return tf.nn.l2_normalize(feature, 3)

    def conv_lstm(self, sequence):
        size, filters = self.config.grid_size, self.config.fusion_dim
        scope = "rnn/conv_lstm_cell"
        weight = {name: self.weights[f"{SCOPE}/{scope}/{name}"] for name in ("kernel", "W_ci", "W_cf", "W_co")}
        c = h = tf.zeros((1, size, size, filters))
        for x in sequence:
            gates = tf.nn.conv2d(tf.concat([x, h], 3), weight["kernel"], 1, "SAME")
            j, i, f, o = tf.split(gates, 4, axis=3)
            j = self.layer_norm(f"{scope}/LayerNorm", j)
            i = self.layer_norm(f"{scope}/LayerNorm_1", i + weight["W_ci"] * c)
            f = self.layer_norm(f"{scope}/LayerNorm_2", f + weight["W_cf"] * c)
            c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
            o = self.layer_norm(f"{scope}/LayerNorm_3", o + weight["W_co"] * c)
            c = self.layer_norm(f"{scope}/LayerNorm_4", c)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h

    def score(self, name: str, x):
        logits = self.conv(name, x)
        size = (self.config.image_size, self.config.image_size)
        return tf.compat.v1.image.resize_bilinear(logits, size)


def make_inference(model: keras.Model, pictures: int, sentences: int):
    """What a call of inference does: the graph of each sentence, one after the other; returns the mask logits."""
    pixels, token_ids = make_inputs("cmpc", pictures, sentences)
    images = tf.constant(model.preprocessing.normalize(pixels))
    compute = tf.function(NaiveGraph(model))

    def infer():
        pairs = [(images[i % pictures, None], tf.constant(token_ids[i, None])) for i in range(sentences)]
        return np.concatenate([compute(*pair)["mask_logits"].numpy() for pair in pairs])[..., 0]

    return infer


def make_training(model: keras.Model, batch: int):
    """What a training step does."""
    pixels, token_ids = make_inputs("cmpc", batch, batch)
    naive = NaiveGraph(model)
    assert len(naive.adam.variables)  # Made outside the function below.
    step, target = tf.function(naive.train_step), tf.constant(np.float32(pixels[..., :1] > 127))
    images = tf.constant(model.preprocessing.normalize(pixels))
    return lambda: float(step(images, tf.constant(token_ids), target))


def main():
    options = parse_side(__doc__.splitlines()[0])
    model = load_model(options.weights)
    if options.training:
        step = make_training(model, options.pictures)
    else:
        step = make_inference(model, options.pictures, options.sentences)
    answer(step, count=lambda _: {"gflop": count_gflop(step)}, save=lambda path: np.save(path, step()))


if __name__ == "__main__":
    main()
