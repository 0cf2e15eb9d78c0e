"""SL-Att. against the numbers of the original, and properties of the whole model."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from cmpc_tf2.fields import FieldError
from cmpc_tf2.precision import building_with
from cogrounding_original import (
    TINY,
    assert_outputs,
    assert_stages,
    assign_by_rule,
    normalize,
    picture_by_rule,
    read_golden,
    read_manifest,
    recording,
)
from cogrounding_tf2.config import CoGroundingConfig, GroundingConfig
from cogrounding_tf2.conversion.names import image_pairs
from cogrounding_tf2.models.sl_att import SLAtt

TOLERANCE = 2e-5
# What the golden of full size holds beside stages.
NOT_STAGES = ("pred", "sim", "loc_0", "loc_1", "loc_2", "darknet", "top5")


@pytest.fixture(scope="module")
def golden():
    return read_golden("image_tiny")


@pytest.fixture(scope="module")
def model():
    model = SLAtt(TINY, name="sl_att")
    assign_by_rule(model.weights, image_pairs(TINY), read_manifest("image_tiny"))
    return model


def inputs_of(golden, *samples: int) -> dict:
    """The inputs of a batch of samples."""
    images = normalize(np.stack([golden[f"{sample}/image"] for sample in samples]))
    token_ids = np.stack([golden[f"{sample}/words"] for sample in samples]).astype("int32")
    return {"image": ops.convert_to_tensor(images), "token_ids": ops.convert_to_tensor(token_ids)}


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_outputs_of_one_sample(sample, model, golden, parity):
    outputs = model(inputs_of(golden, sample))
    assert_outputs(parity, "SL-Att., small", outputs, golden, str(sample), TOLERANCE)


def test_outputs_of_a_batch(model, golden, parity):
    outputs = model(inputs_of(golden, 0, 1, 2))
    for sample in range(3):
        assert_outputs(parity, "SL-Att., small, a batch", outputs, golden, str(sample), TOLERANCE, row=sample)


def test_stages(model, golden, parity):
    with recording() as recorded:
        model(inputs_of(golden, 0))
    others = ("darknet_",)
    assert assert_stages(parity, "SL-Att., small: stages", recorded, golden, "0/stage/", others) == 19


def test_the_words_that_count(model, golden):
    """Weights of the words are those of the golden, at any length; padding has none."""
    outputs = model(inputs_of(golden, 1, 0))
    found = np.asarray(outputs["word_attention"])
    assert found.shape == (2, 2, 20)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    for row, name in enumerate(("sub_attn.0", "loc_attn.0")):
        np.testing.assert_allclose(found[1, row, :7], golden[f"0/stage/{name}"][0], atol=1e-6)
        assert (found[1, row, 7:] == 0).all() and (found[0, row, 2:] == 0).all()
    assert np.asarray(outputs["subject"]).shape == (2, 20)
    np.testing.assert_allclose(np.linalg.norm(outputs["visual"], axis=-1), 1, atol=1e-5)


def test_words_behind_the_sentence_do_not_count(model, golden):
    """The valid ids are taken to be the first ones, as many as there are ids other than 0."""
    inputs = inputs_of(golden, 0)
    words = np.array(inputs["token_ids"])
    words[0, 3], words[0, 7] = 0, 5  # Still seven valid ids: the one behind the seventh slot is not read.
    other = words.copy()
    other[0, 7] = 9
    first, second = (model({**inputs, "token_ids": ops.convert_to_tensor(ids)})["box_logits"] for ids in (words, other))
    np.testing.assert_array_equal(first, second)


def test_randomness_belongs_to_training(model, golden):
    inputs = inputs_of(golden, 0, 1)
    saved = model.get_weights()
    evaluated = [np.asarray(model(inputs)["box_logits"]) for _ in range(2)]
    trained = [np.asarray(model(inputs, training=True)["box_logits"]) for _ in range(2)]
    model.set_weights(saved)
    np.testing.assert_array_equal(*evaluated)
    assert not np.array_equal(*trained)
    rates = {layer.name: layer.rate for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)}
    assert rates == {"dropout": 0.2, "mapping_lang.3": 0.1}


def test_float64_is_exact(model, golden):
    """Nothing on the way is rounded to float32."""
    inputs = inputs_of(golden, 0)
    with building_with("float64"):
        exact = SLAtt(TINY)
    for target, source in zip(exact.weights, model.weights, strict=True):
        target.assign(ops.convert_to_tensor(source))
    outputs = exact({**inputs, "image": ops.cast(inputs["image"], "float64")})
    assert {keras.backend.standardize_dtype(value.dtype) for value in outputs.values()} == {"float64"}
    folded = exact.inference_encoder()(ops.cast(inputs["image"], "float64"))
    for name, expected in exact.image_encoder(ops.cast(inputs["image"], "float64")).items():
        np.testing.assert_allclose(folded[name], expected, rtol=0, atol=1e-13)


def test_every_parameter_has_a_place(model):
    pairs = image_pairs(TINY)
    assert sorted(pair.keras for pair in pairs) == sorted(variable.path for variable in model.weights)
    assert {pair.torch for pair in pairs} == read_manifest("image_tiny").keys()
    assert {pair.torch for pair in image_pairs(GroundingConfig())} == read_manifest("image_full").keys()


def test_initial_values():
    """Those of PyTorch: uniform within the inverse root of the inputs."""
    keras.utils.set_random_seed(0)
    weights = {variable.path: ops.convert_to_numpy(variable) for variable in SLAtt(TINY).weights}
    shapes = {pair.keras: read_manifest("image_tiny")[pair.torch] for pair in image_pairs(TINY)}
    for path, value in weights.items():
        layer, _, name = path.rpartition("/")
        if name in ("gamma", "running_var"):
            assert (value == 1).all(), path
        elif name in ("beta", "running_mean"):
            assert (value == 0).all(), path
        elif name == "embeddings":
            assert value.std() == pytest.approx(1, rel=0.1) and np.abs(value).max() > 2.5, path
        elif not path.startswith("unused_heads"):
            kernel = shapes.get(f"{layer}/kernel")
            bound = 1 / np.sqrt(20 if "rnn" in path else np.prod(kernel[1:]))
            assert np.abs(value).max() <= bound, path
            assert value.size < 20 or 0.4 * bound < value.std() < 0.75 * bound, path
            assert value.size < 200 or np.abs(value).max() > 0.97 * bound, path


@pytest.mark.parametrize(
    "config, changes, message",
    [
        (TINY, {"image_size": 320}, "image_size: expected 256: the width of a layer, 1344 = 8² .* received 320"),
        (TINY, {"feature_dim": 21}, "feature_dim: expected a multiple of 2, received 21"),
        (TINY, {"darknet": {"widths": [1, 2]}}, "darknet.widths: expected a list of six"),
        (CoGroundingConfig(), {"clip_frames": 4}, "clip_frames: expected a whole number from 3 to 99, odd, received 4"),
        (CoGroundingConfig(), {"clip_frames": 1}, "clip_frames: expected a whole number from 3"),
    ],
)
def test_sizes_that_cannot_be(config, changes, message):
    with pytest.raises(FieldError, match=message):
        dataclasses.replace(config, **changes)


def test_another_size_is_refused(model):
    with pytest.raises(FieldError, match="image_size: expected 256"):
        model.at_size(320)


@pytest.mark.slow
def test_full_size(parity):
    golden, config = read_golden("full"), GroundingConfig()
    model = SLAtt(config)
    shapes = read_manifest("image_full")
    assert model.get_backbone().count_params() == 248_007_028 // 4
    assign_by_rule(model.weights, image_pairs(config), shapes)
    picture, words = normalize(picture_by_rule(0)[None]), golden["words"][None].astype("int32")
    inputs = {"image": ops.convert_to_tensor(picture), "token_ids": ops.convert_to_tensor(words)}
    with recording() as recorded:
        outputs = model(inputs)
    assert_outputs(parity, "SL-Att., full size", outputs, golden, "image", 5e-5)
    assert assert_stages(parity, "SL-Att., full size: stages", recorded, golden, "image/", NOT_STAGES) == 7
    confidences = np.asarray(outputs["box_logits"])[0, :, 4]
    assert np.argsort(-confidences)[:5].tolist() == golden["image/top5_index"].tolist()
    parity.within("SL-Att., full size: confidences", np.sort(confidences)[:-6:-1], golden["image/top5"], 5e-5)
