"""The signatures of an exported model: for tensors, and for raw pictures or frames and sentences."""

import functools

import tensorflow as tf

from cmpc_tf2.exporting.graph_tokenizers import GRAPH_TOKENIZERS
from cmpc_tf2.exporting.raw_inputs import GRAPH_RESIZINGS, decode_picture, normalize_pixels
from cmpc_tf2.inference.runner import tensor_specs
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.systems import import_object


class ExportedModel(tf.Module):
    """A model with everything it needs to run without this project.

    Args:
        model: A model, for images or video. Batch norms are folded in what is exported. Without a vocabulary it takes
            tensors alone.
    """

    def __init__(self, model: ReferringModel):
        super().__init__(name="cmpc")
        self.encoder, self.decoder = model.inference_encoder(), model.expression_decoder
        self.size = model.config.image_size
        self.input_name = model.input_name
        self.preprocessing = model.preprocessing
        self.answer = import_object(model.exported_answer)()
        self.resizing = GRAPH_RESIZINGS[model.preprocessing.resizing]
        decoder_inputs = tensor_specs(self.decoder.input)
        self.text = {name: spec for name, spec in decoder_inputs.items() if name not in self.encoder.output}
        tokenizer_type = GRAPH_TOKENIZERS[model.tokenizer_type.name]
        self.tokenizer = tokenizer_type(model.vocabulary, model.config.max_words) if model.vocabulary else None

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """All signatures by name.

        `tensors`: `image`, float32 `(B, S, S, 3)`, normalised (of a video model `clip`, `(B, 16, S, S, 3)`), and the
        outputs of the tokenizer, int32 `(B, T)` each, to `mask_logits`, float32 `(B, S, S, 1)`, or `box_logits`; one
        image serves any number of sentences.

        `serving_default`: `image_bytes`, a JPEG or PNG file (of a video model `frames`, uint8 RGB `(16, h, w, 3)`), and
        `expression`, both scalars, to the results of a `GraphAnswer`: `mask`, `probabilities` and `score`, or `box` and
        `score`.

        `encode_image` (`encode_clip`) and `decode_expression` are its two halves, for several `expressions`, `(E,)`,
        with results of a further, leading axis.
        """
        pixels = tf.TensorSpec((None, *self.encoder.input.shape[1:]), tf.float32, name=self.input_name)
        found = {"tensors": _signature(self._tensors, {self.input_name: pixels, **self.text})}
        if self.tokenizer is None:
            return found
        raw = {"image_bytes": tf.TensorSpec((), tf.string, name="image_bytes")}
        if self.input_name == "clip":
            frames = self.encoder.input.shape[1]
            raw = {"frames": tf.TensorSpec((frames, None, None, 3), tf.uint8, name="frames")}
        features = tensor_specs(self.encoder.output, batch_size=1)
        features |= {side: tf.TensorSpec((), tf.int32, name=side) for side in ("height", "width")}
        expression = tf.TensorSpec((), tf.string, name="expression")
        expressions = tf.TensorSpec((None,), tf.string, name="expressions")
        found["serving_default"] = _signature(self._serve, {**raw, "expression": expression})
        found[f"encode_{self.input_name}"] = _signature(self._encode, raw)
        found["decode_expression"] = _signature(self._decode, {**features, "expressions": expressions})
        return found

    def _tensors(self, inputs):
        inputs = dict(inputs)
        features = self.encoder(inputs.pop(self.input_name), training=False)
        outputs = self.decoder({**features, **inputs}, training=False)
        return {self.answer.output: outputs[self.answer.output]}

    def _encode(self, inputs):
        if "frames" in inputs:
            frames = inputs["frames"]
            height, width = tf.shape(frames)[1], tf.shape(frames)[2]
            fitted = tf.map_fn(
                functools.partial(self.resizing.resize, size=self.size),
                frames,
                fn_output_signature=tf.TensorSpec((self.size, self.size, 3), tf.float32),
            )
        else:
            image = decode_picture(inputs["image_bytes"])
            height, width = tf.shape(image)[0], tf.shape(image)[1]
            fitted = self.resizing.resize(image, self.size)
        features = self.encoder(normalize_pixels(fitted, self.preprocessing)[None], training=False)
        return {**features, "height": height, "width": width}

    def _decode(self, inputs):
        inputs = dict(inputs)
        height, width, expressions = (inputs.pop(name) for name in ("height", "width", "expressions"))
        specs = {name: tf.TensorSpec(spec.shape[1:], tf.int32) for name, spec in self.text.items()}
        text = tf.map_fn(self.tokenizer, expressions, fn_output_signature=specs)
        output = self.decoder({**inputs, **text}, training=False)[self.answer.output]
        return self.answer.in_graph(output, self.resizing, height, width)

    def _serve(self, inputs):
        inputs = dict(inputs)
        expressions = inputs.pop("expression")[None]
        results = self._decode({**self._encode(inputs), "expressions": expressions})
        return {name: value[0] for name, value in results.items()}


def _signature(function, specs: dict[str, tf.TensorSpec]):
    return tf.function(function, input_signature=[specs], autograph=False)
