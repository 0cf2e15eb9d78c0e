import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import cmpc_tf2
from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.predictor import Encoded
from cmpc_tf2.inference.runner import ModelRunner
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.masks.densecrf import refine_mask
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_tf2.text.vocabulary import Vocabulary
from small import SMALL, WORDS, subtract_mean


@pytest.fixture(scope="module")
def predictor(small_model):
    return cmpc_tf2.Predictor(small_model)


def test_square_picture_of_the_models_size_gives_the_models_probabilities(small_model, predictor, rng):
    image = rng.integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    token_ids = Vocabulary(WORDS).encode("red circle")[None].astype("int32")
    logits = np.asarray(small_model({"image": subtract_mean(image)[None], "token_ids": token_ids})["mask_logits"])
    predictor.set_image(image)
    prediction = predictor.predict("red circle")
    np.testing.assert_allclose(prediction.probabilities, 1 / (1 + np.exp(-logits[0, :, :, 0])), atol=1e-5)
    np.testing.assert_array_equal(prediction.mask, prediction.probabilities >= 0.5)


def test_a_probability_of_one_half_is_foreground():
    half = Prediction(np.full((4, 4), 0.5, np.float32), (3, 6), Preprocessing(4))
    assert half.mask.all() and not half.mask_from(0.51).any()


@pytest.mark.parametrize("size", [(45, 70), (200, 31), (1, 1), (3, 500), (20, 40_000), (40_000, 20)])
def test_any_size(size, predictor, rng):
    predictor.set_image(rng.integers(0, 256, size=(*size, 3), dtype=np.uint8))
    prediction = predictor.predict("man")
    assert prediction.mask.shape == prediction.probabilities.shape == size
    assert prediction.mask.dtype == bool and prediction.probabilities.dtype == np.float32


def test_a_picture_is_encoded_once_for_all_expressions(small_model, rng, monkeypatch):
    predictor = cmpc_tf2.Predictor(small_model)
    calls = []
    encode = ModelRunner.encode
    monkeypatch.setattr(ModelRunner, "encode", lambda runner, images: calls.append(1) or encode(runner, images))
    predictor.set_image(rng.integers(0, 256, size=(45, 70, 3), dtype=np.uint8))
    first = predictor.predict("man").probabilities
    predictor.predict("red circle")
    np.testing.assert_array_equal(predictor.predict("man").probabilities, first)
    assert len(calls) == 1


def test_the_border_of_a_picture_is_not_darkened(small_model, predictor):
    """Beyond the picture the probabilities continue as at its edge, not as zeros."""
    predictor.set_image(np.full((96, 96, 3), 128, np.uint8))
    probabilities = predictor.predict("man").probabilities
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    np.testing.assert_array_equal(probabilities[:, 0], probabilities[:, 1])


def test_the_refined_mask_is_that_of_densecrf(predictor, rng):
    pytest.importorskip("pydensecrf")
    image = rng.integers(0, 256, size=(32, 32, 3), dtype=np.uint8)  # Of the model's size: nothing is resized.
    predictor.set_image(image)
    prediction = predictor.predict("man")
    refined = prediction.refined_mask(image)
    assert refined.dtype == bool and not np.array_equal(refined, prediction.mask)
    np.testing.assert_array_equal(refined, refine_mask(prediction.fitted_probabilities, image))
    wide = rng.integers(0, 256, size=(45, 70, 3), dtype=np.uint8)
    predictor.set_image(wide)
    assert predictor.predict("man").refined_mask(wide).shape == (45, 70)


def test_wrong_arguments_raise(small_model, rng):
    predictor = cmpc_tf2.Predictor(small_model)
    with pytest.raises(InputError, match="call set_image"):
        predictor.predict("man")
    for image in (np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match=r"expected uint8 \(h, w, 3\)"):
            predictor.set_image(image)
    predictor.set_image(np.zeros((4, 4, 3), np.uint8))
    for expression in ("", " ", "."):
        with pytest.raises(InputError, match="has no words"):
            predictor.predict(expression)
    with pytest.raises(InputError, match="vocabulary has 2 words, but the model has 12"):
        cmpc_tf2.Predictor(small_model, ["<pad>", "<unk>"])
    with pytest.raises(InputError, match="holds no vocabulary"):
        cmpc_tf2.Predictor(CMPC(SMALL))


@pytest.mark.usefixtures("eagerly")
def test_an_encoded_picture_can_be_set_again(small_model, rng):
    predictor = cmpc_tf2.Predictor(small_model)
    first, second = rng.integers(0, 256, size=(2, 40, 40, 3), dtype=np.uint8)
    predictor.set_image(first)
    kept, expected = predictor.encoded, predictor.predict("man").probabilities
    predictor.set_image(second)
    assert not np.array_equal(predictor.predict("man").probabilities, expected)
    predictor.encoded = kept
    np.testing.assert_array_equal(predictor.predict("man").probabilities, expected)


def test_the_size_of_an_encoding_counts_nested_tensors_and_arrays():
    @dataclasses.dataclass
    class Found:
        boxes: np.ndarray
        maps: list

    features = {"found": Found(np.zeros((2, 4), np.float32), [tf.zeros((3, 5)), tf.zeros(2, tf.float16)]), "scale": 0.5}
    assert Encoded(features, (60, 90)).size_in_bytes == 32 + 60 + 4
