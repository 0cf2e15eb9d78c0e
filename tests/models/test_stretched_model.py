"""A model whose pictures are stretched and whose sentences are cut in pieces, through prediction and export."""

import io
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from PIL import Image

from cmpc_tf2.commands.predict import warn_of_lost_words
from cmpc_tf2.errors import InputError
from cmpc_tf2.exporting.checks import compare_saved_model
from cmpc_tf2.exporting.model_card import write_card
from cmpc_tf2.exporting.writing import write_saved_model
from cmpc_tf2.inference.predictor import Predictor
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.text.vocabulary import NoWordsError
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS

PIECES = [*SPECIAL_TOKENS, "man", "red", "##s", "in", "."]
CONFIG = ReferringConfig(image_size=32, vocabulary_size=len(PIECES), max_words=8)


class PixelWords(ReferringModel):
    """Adds up the colours of a pixel, weighted by the words."""

    title = "a small model"
    tokenizer_name = "wordpiece"
    protocol_name = "resized"
    preprocessing_options: ClassVar[dict] = {
        "resizing": "stretch",
        "channels": "rgb",
        "mean": (123.7, 116.3, 103.5),
        "deviation": (58.4, 57.1, 57.4),
    }

    @classmethod
    def build_image_encoder(cls, config):
        image = keras.Input((config.image_size, config.image_size, 3), name="image")
        return keras.Model(image, {"pixels": layers.Conv2D(3, 1, name="colors")(image)}, name="image_encoder")

    @staticmethod
    def build_expression_decoder(config):
        pixels = keras.Input((config.image_size, config.image_size, 3), name="pixels")
        text = {
            name: keras.Input((config.max_words,), dtype="int32", name=name) for name in ("token_ids", "token_mask")
        }
        words = layers.Embedding(config.vocabulary_size, 3, name="words")(text["token_ids"])
        sentence = ops.sum(words * ops.cast(text["token_mask"], "float32")[..., None], axis=1)
        logits = ops.sum(pixels * 40 * sentence[:, None, None], axis=-1, keepdims=True)
        return keras.Model({"pixels": pixels, **text}, {"mask_logits": logits}, name="expression_decoder")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return PixelWords(CONFIG, vocabulary=PIECES)


def test_a_saved_model_does_what_the_predictor_does(model, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 90, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_saved_model(model, tmp_path / "saved")
    assert compare_saved_model(model, tmp_path / "saved") < 1e-4
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    predictor = Predictor(model)
    predictor.set_image(pixels)
    for sentence in ("Reds in man.", "man " * 20):
        expected = predictor.predict(sentence)
        found = serve(image_bytes=tf.constant(buffer.getvalue()), expression=tf.constant(sentence))
        assert 0 < expected.mask.mean() < 1 and found["mask"].shape == (50, 90)
        np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the expression has no words"):
        serve(image_bytes=tf.constant(buffer.getvalue()), expression=tf.constant(" "))


def test_its_card(model, tmp_path):
    (tmp_path / "m.keras").write_bytes(b"")
    card = write_card(model, tmp_path / "m.keras", "m")
    assert "Pictures are stretched to 32 x 32 pixels" in card and "cut after 8 tokens" in card
    assert "[CLS], pieces and [SEP]" in card
    without = write_card(PixelWords(CONFIG), tmp_path / "m.keras", "m")
    assert '["tensors"](image=pixels, token_ids=token_ids, token_mask=token_mask)' in without


def test_long_sentences_and_other_vocabularies_are_named(model, caplog):
    warn_of_lost_words("man " * 9, model.make_tokenizer(), "m.keras")
    assert "only the first 7 of its 9 word pieces count" in caplog.text
    with pytest.raises(NoWordsError):
        warn_of_lost_words("\u0301", model.make_tokenizer(), "m.keras")
    with pytest.raises(InputError, match="the vocabulary has 9 words, but the model has 10"):
        Predictor(model, PIECES[:-1])
