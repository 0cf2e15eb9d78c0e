"""Explanations of predictions: types of words, and heat maps of the stages."""

import dataclasses

import keras
import numpy as np
import pytest

import cmpc_tf2
from cmpc_tf2.errors import InputError
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.preprocessing.resizing import RESIZINGS
from small import SMALL, WORDS


@pytest.fixture(scope="module")
def golden_predictor(tiny_model, tiny_golden):
    """The model of the goldens with invented words, after `set_image` of their first picture."""
    size = tiny_model.config.vocabulary_size
    words = ["<pad>", "<go>", "<eos>", "<unk>", *(f"w{number}" for number in range(4, size))]
    predictor = cmpc_tf2.Predictor(tiny_model, words)
    predictor.set_image(tiny_golden["0/image"])
    return predictor


@pytest.fixture(scope="module")
def explanation(golden_predictor, tiny_golden):
    ids = [number for number in tiny_golden["0/words"] if number]
    words = golden_predictor.tokenizer.vocabulary.words
    # An unknown word by one that is not in the vocabulary.
    return golden_predictor.explain(" ".join("elsewhere" if number == 3 else words[number] for number in ids))


def test_types_of_words_are_the_originals(explanation, tiny_golden):
    expected = tiny_golden["0/words_parse"].reshape(-1, 4)
    found = np.array([list(word.probabilities.values()) for word in explanation.words])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert list(explanation.words[0].probabilities) == ["entity", "attribute", "relation", "unnecessary"]
    assert [word.is_known for word in explanation.words] == [word.word != "elsewhere" for word in explanation.words]


def test_heat_maps_are_those_of_the_originals_features(explanation, tiny_golden):
    """The mean over the levels of the cosine to what is marked, computed from the golden's tensors."""
    weights = 1 / (1 + np.exp(-tiny_golden["0/pred"].reshape(8, 8)))
    for stage, name in (("entities", "mutan"), ("relations", "graph")):
        similarity = []
        for level in ("c3", "c4", "c5"):
            cells = tiny_golden[f"0/{name}_{level}"].reshape(64, -1)
            mean = weights.reshape(64) @ cells
            similarity.append(cells @ mean / np.linalg.norm(cells, axis=1) / np.linalg.norm(mean))
        heat = RESIZINGS["fit"].restore(np.mean(similarity, axis=0).reshape(8, 8), 64, 64)
        expected = (heat - heat.min()) / (heat.max() - heat.min())
        np.testing.assert_allclose(explanation.heat_map(stage), expected, atol=1e-3)
    assert list(explanation.similarity) == ["entities", "relations"]


@pytest.mark.usefixtures("eagerly")
def test_the_explained_prediction_is_that_of_predict(golden_predictor, explanation):
    expression = " ".join(word.word for word in explanation.words)
    expected = golden_predictor.predict(expression).probabilities
    np.testing.assert_allclose(explanation.prediction.probabilities, expected, atol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_stages_have_the_pictures_shape(small_model, rng):
    predictor = cmpc_tf2.Predictor(small_model)
    predictor.set_image(rng.integers(0, 256, size=(45, 70, 3), dtype=np.uint8))
    explanation = predictor.explain("red " * 30)
    assert [word.word for word in explanation.words] == ["red"] * 20
    assert sum(explanation.words[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    for stage in explanation.similarity:
        heat = explanation.heat_map(stage)
        assert heat.shape == (45, 70) and heat.dtype == np.float32
        assert heat.min() == 0 and heat.max() == 1


@pytest.mark.usefixtures("eagerly")
def test_a_model_without_parts_has_fewer_stages():
    keras.utils.set_random_seed(0)
    config = dataclasses.replace(SMALL, without=("word_types", "relation_graph"))
    predictor = cmpc_tf2.Predictor(CMPC(config, vocabulary=WORDS))
    predictor.set_image(np.zeros((32, 32, 3), np.uint8))
    explanation = predictor.explain("the man")
    assert explanation.words == [] and list(explanation.similarity) == ["entities"]


@pytest.fixture(scope="module")
def attending(small_maskris, eager):
    """A predictor with attention of words to places, after `set_image`, and its explanation of a sentence."""
    with eager():
        predictor = cmpc_tf2.Predictor(small_maskris)
        predictor.set_image(np.random.default_rng(4).integers(0, 256, size=(45, 70, 3), dtype=np.uint8))
        return predictor, predictor.explain("Man with a frisbee, yes")


@pytest.mark.usefixtures("eagerly")
def test_attention_is_given_for_every_word(attending):
    predictor, explanation = attending
    words = [word for word, _ in explanation.attention]
    assert words == ["[CLS]", "man", "with", "a", "frisbee", ",", "yes"]
    for _, weights in explanation.attention:
        assert weights.shape == (8, 8) and weights.dtype == np.float32
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        heat = explanation.heat_map(weights)
        assert heat.shape == (45, 70) and heat.dtype == np.float32
        assert heat.min() == 0 and heat.max() == 1
    expected = predictor.predict("Man with a frisbee, yes").probabilities
    np.testing.assert_allclose(explanation.prediction.probabilities, expected, atol=1e-6)
    assert explanation.words == [] and explanation.similarity == {}
    with pytest.raises(InputError, match="stage 'relations': the model has no stages"):
        explanation.heat_map("relations")


def test_the_pieces_of_a_word_are_averaged(attending, small_maskris):
    predictor, explanation = attending
    text = predictor.tokenizer.encode("Man with a frisbee, yes")
    text = {name: keras.ops.convert_to_tensor(value[None]) for name, value in text.items()}
    maps = small_maskris.explaining_decoder()({**predictor.encoded.features, **text})["attention"][0]
    expected = [maps[0], maps[1], maps[2], maps[3], (maps[4] + maps[5]) / 2, maps[6], maps[7]]
    np.testing.assert_allclose([weights for _, weights in explanation.attention], expected, atol=1e-6)


def test_a_model_without_attention_shows_none(explanation):
    assert explanation.attention == []
