"""MaskRIS against the numbers of the original, and properties of the whole model."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from cmpc_tf2.conversion.names.maskris import MASK_TOKEN, maskris_pairs
from cmpc_tf2.fields import FieldError
from cmpc_tf2.layers import deformable_attention
from cmpc_tf2.models.maskris.config import DECODER_LEVELS, MaskRISConfig
from cmpc_tf2.models.maskris.model import MaskRIS, expression_decoder, image_encoder
from cmpc_tf2.models.maskris.positions import sine_positions
from cmpc_tf2.models.maskris.prompts import pool
from cmpc_tf2.precision import computing_in
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.config import BertConfig
from maskris_original import TINY, assign_by_rule, read_golden, read_manifest

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def golden():
    return read_golden("tiny")


@pytest.fixture(scope="module")
def model():
    model = MaskRIS(TINY, name="maskris")
    assign_by_rule(model.weights, maskris_pairs(TINY), read_manifest("tiny"))
    return model


@pytest.fixture(scope="module")
def oblong():
    """The two halves for pictures of 72 x 100 pixels, with the same weights."""
    halves = image_encoder(TINY, 72, 100), expression_decoder(TINY, 72, 100)
    for half in halves:
        assign_by_rule(half.weights, maskris_pairs(TINY), read_manifest("tiny"))
    return halves


def inputs_of(golden, *samples: int) -> dict:
    """The inputs of a batch of samples."""
    images = np.stack([golden[f"{sample}/image"] for sample in samples])
    images = Preprocessing(TINY.image_size, **MaskRIS.preprocessing_options).normalize(images)
    token_ids, token_mask = (
        np.stack([golden[f"{sample}/{name}"] for sample in samples]) for name in ("ids", "attention")
    )
    inputs = {"image": images, "token_ids": token_ids, "token_mask": token_mask}
    return {name: ops.convert_to_tensor(value) for name, value in inputs.items()}


def run_halves(halves, inputs: dict) -> dict:
    encoder, decoder = halves
    return decoder({**encoder(inputs["image"]), **{name: inputs[name] for name in ("token_ids", "token_mask")}})


def channels_first(x) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)


def flat(x) -> np.ndarray:
    """A map as a sequence of cells."""
    x = np.asarray(x)
    return x.reshape(len(x), -1, x.shape[-1])


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_logits_of_one_sample(sample, model, golden, parity):
    outputs = model(inputs_of(golden, sample))
    coarse, fine = channels_first(outputs["coarse_logits"])[0], np.asarray(outputs["mask_logits"])[0, :, :, 0]
    parity.within("MaskRIS, small: logits", coarse, golden[f"{sample}/logits"], TOLERANCE, name=str(sample))
    background, foreground = golden[f"{sample}/up"]
    parity.within("MaskRIS, small: upsampled logits", fine, foreground - background, TOLERANCE, name=str(sample))
    np.testing.assert_array_equal(fine > 0, golden[f"{sample}/pred"])


def test_logits_of_a_batch(model, golden, parity):
    found = channels_first(model(inputs_of(golden, 0, 1, 2))["coarse_logits"])
    expected = np.stack([golden[f"{sample}/logits"] for sample in range(3)])
    parity.within("MaskRIS, small: logits of a batch", found, expected, TOLERANCE)


def test_logits_of_an_oblong_picture(oblong, golden, parity):
    outputs = run_halves(oblong, inputs_of(golden, 3))
    found = channels_first(outputs["coarse_logits"])[0]
    parity.within("MaskRIS, small: logits of 72 x 100 pixels", found, golden["3/logits"], TOLERANCE)
    background, foreground = golden["3/up"]
    fine = np.asarray(outputs["mask_logits"])[0, :, :, 0]
    parity.within("MaskRIS, small: upsampled logits of 72 x 100 pixels", fine, foreground - background, TOLERANCE)


@pytest.fixture
def recorded(monkeypatch):
    """The last output of each layer by its path, and the arguments of the sampling in the first decoder layer."""
    outputs, run_layer = {}, keras.layers.Layer.__call__
    sample_levels, samplings = deformable_attention.sample_levels, []

    def record_layer(layer, *args, **kwargs):
        outputs[layer.path or layer.name] = result = run_layer(layer, *args, **kwargs)
        return result

    def record_sampling(value, grids, locations, weights):
        result = sample_levels(value, grids, locations, weights)
        samplings.append({"value": value, "shapes": grids, "locations": locations, "weights": weights})
        samplings[-1]["sampled"] = result
        outputs["deform0"] = samplings[0]
        return result

    monkeypatch.setattr(keras.layers.Layer, "__call__", record_layer)
    monkeypatch.setattr(deformable_attention, "sample_levels", record_sampling)
    return outputs


def stage(name: str, recorded: dict, weights: dict, size: tuple[int, int]) -> np.ndarray:
    """What a stage of the golden is called here, in the golden's layout."""
    kind, _, rest = name.partition("_")
    if name == "patch_embed":
        return channels_first(recorded[name])
    if kind == "swin":
        if rest.startswith("stage"):
            number, _, block = rest.removeprefix("stage").partition("_block")
            return flat(recorded[f"layers.{number}.blocks.{block or TINY.swin.depths[int(number)] - 1}"])
        return flat(recorded[f"norm{rest[-1]}" if rest.startswith("out") else f"layers.{rest[-1]}.downsample"])
    if name == "prompt_pool2":
        return channels_first(pool(recorded["norm3"], 2)).reshape(1, -1, 2, 2)
    if kind == "bert":
        layer = "embeddings" if rest == "embeddings" else f"encoder.layer.{rest.removeprefix('layer')}"
        return np.asarray(recorded[f"lang_encoder/{layer}"])
    if kind.startswith("projected"):
        return channels_first(recorded[f"input_convs.{kind[-1]}"])
    if kind.startswith("sine"):
        grid = TINY.swin.grids(*size)[DECODER_LEVELS[int(kind[-1])]]
        return channels_first(sine_positions(*grid, TINY.feature_dim)[None])
    if kind == "deform0":
        return np.asarray(recorded["deform0"][rest])
    if kind.startswith("decoder") and kind != "decoder":
        return np.asarray(recorded[f"encoder.{kind.removeprefix('decoder')}/{rest}"])
    if kind == "lang":
        classes = np.asarray(recorded["lang_embed.4"])
        return classes[:, 1:] if rest == "embed_words" else classes[:, :1]
    if name == "mask_feature":
        features = np.asarray(recorded["mask_feature.2"])
        return channels_first(features @ weights["mask_feature.4/kernel"][0, 0] + weights["mask_feature.4/bias"])
    places = {"prompts": "conditional_prompts", "decoder_lang_in": "lang_in_norm"}
    if name in places:
        return np.asarray(recorded[places[name]])
    found = channels_first(recorded[{"fpn_lateral": "lateral_convs.0", "fpn_output": "output_convs.0"}[name]])
    return np.maximum(found, 0) if name == "fpn_output" else found


@pytest.mark.parametrize("sample, size, count", [(0, (96, 96), 60), (3, (72, 100), 10)])
def test_stages(sample, size, count, model, oblong, golden, recorded, parity):
    prefix = f"{sample}/stage/"
    inputs = inputs_of(golden, sample)
    halves = (model.image_encoder, model.expression_decoder) if sample == 0 else oblong
    run_halves(halves, inputs)
    weights = {variable.path: ops.convert_to_numpy(variable) for variable in halves[1].weights}
    names = [name.removeprefix(prefix) for name in golden if name.startswith(prefix)]
    assert len(names) == count
    for name in names:
        expected = golden[prefix + name]
        found = stage(name, recorded, weights, size)
        parity.within("MaskRIS, small: stages", found, expected, TOLERANCE, scale=np.abs(expected).max(), name=name)


def test_one_picture_serves_many_sentences(model, golden):
    inputs = inputs_of(golden, 0, 1, 2)
    features = model.image_encoder(inputs["image"][:1])
    words = {name: inputs[name] for name in ("token_ids", "token_mask")}
    together = model.expression_decoder({**features, **words})["coarse_logits"]
    for index in range(3):
        alone = model({"image": inputs["image"][:1], **{name: words[name][index : index + 1] for name in words}})
        np.testing.assert_allclose(together[index], alone["coarse_logits"][0], atol=TOLERANCE)


def test_padding_changes_nothing(model, golden):
    inputs = inputs_of(golden, 0)
    other = np.array(inputs["token_ids"])
    is_padding = np.asarray(inputs["token_mask"]) == 0
    assert is_padding.any()
    other[is_padding] = 7
    expected, found = model(inputs), model({**inputs, "token_ids": ops.convert_to_tensor(other)})
    np.testing.assert_allclose(found["mask_logits"], expected["mask_logits"], atol=TOLERANCE)


def test_saving_and_loading(model, golden, tmp_path):
    path, inputs = tmp_path / "maskris.keras", inputs_of(golden, 0)
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.config == TINY and loaded.preprocessing == model.preprocessing
    np.testing.assert_array_equal(loaded(inputs)["mask_logits"], model(inputs)["mask_logits"])


def test_bfloat16_is_close_to_float32(model, golden):
    inputs = inputs_of(golden, 0)
    with computing_in("bfloat16", weights="bfloat16"):
        fast = MaskRIS(TINY)
    for target, source in zip(fast.weights, model.weights, strict=True):
        target.assign(ops.convert_to_tensor(source))
    deformable = fast.expression_decoder.get_layer("encoder.0").vis_self_attn
    assert {variable.dtype for variable in deformable.weights} == {"float32"}
    expected, found = model(inputs), fast(inputs)
    for name in expected:
        assert ops.dtype(found[name]) == "float32"
        error = np.abs(np.asarray(found[name]) - np.asarray(expected[name])).max()
        assert 0 < error < 0.1 * np.abs(expected[name]).max()


def test_another_size_has_the_same_weights(model, golden):
    larger = model.at_size(128)
    image = np.zeros((1, 128, 128, 3), "float32")
    outputs = larger({**inputs_of(golden, 0), "image": ops.convert_to_tensor(image)})
    assert outputs["mask_logits"].shape == (1, 128, 128, 1) and outputs["coarse_logits"].shape == (1, 32, 32, 2)
    for target, source in zip(larger.weights, model.weights, strict=True):
        np.testing.assert_array_equal(target, source)


def test_randomness_belongs_to_training(model, golden):
    inputs = inputs_of(golden, 0)
    evaluated = [np.asarray(model(inputs)["mask_logits"]) for _ in range(2)]
    trained = [np.asarray(model(inputs, training=True)["mask_logits"]) for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)
    assert not np.array_equal(*trained)


def test_every_parameter_has_a_place(model):
    pairs = maskris_pairs(TINY)
    assert sorted(pair.keras for pair in pairs) == sorted(variable.path for variable in model.weights)
    assert sorted([*(pair.torch for pair in pairs), MASK_TOKEN]) == sorted(read_manifest("tiny"))
    names = [pair.torch for pair in maskris_pairs(MaskRISConfig())]
    assert len(names) == 901 and sorted([*names, MASK_TOKEN]) == sorted(read_manifest("full"))


def test_initial_values():
    keras.utils.set_random_seed(0)
    model = MaskRIS(TINY)
    weights = {variable.path: ops.convert_to_numpy(variable) for variable in model.weights}
    for path, value in weights.items():
        layer, _, name = path.rpartition("/")
        parts = layer.split("/")
        is_default = parts[-1].startswith(("lang_in_linear", "mask_feature", "lang_embed")) or path.startswith("patch")
        if name in ("gamma", "gamma_v2l", "gamma_l2v"):
            assert (value == 1).all(), path
        elif parts[-1] in ("value_proj", "output_proj") and name == "kernel":
            assert np.abs(value).max() <= np.sqrt(6 / sum(value.shape)) and value.std() > 0.1, path
        elif parts[-1] in ("sampling_offsets", "attention_weights"):
            assert (value == 0).all() == (path[-8:] != "ets/bias"), path
        elif is_default and name in ("kernel", "bias"):
            bound = 1 / np.sqrt(np.prod(weights[f"{layer}/kernel"].shape[:-1]))
            assert np.abs(value).max() <= bound and 0.4 * bound < value.std() < 0.75 * bound, path
            assert name == "bias" or np.abs(value).max() > 0.97 * bound, path
        elif name in ("bias", "beta"):
            assert (value == 0).all(), path
        elif parts[-1] == "conv":
            assert value.std() == pytest.approx(np.sqrt(2 / value[..., 0, :].size), rel=0.15), path
            assert np.abs(value).max() > 2.5 * value.std(), path  # Neither uniform nor cut at two deviations.
        else:
            is_prompt = path.split("/")[-2] in ("lang_prompts", "vis_prompts", "level_encoding")
            assert value.std() == pytest.approx(1.0 if is_prompt else 0.02, rel=0.25), path


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"vocabulary_size": 10}, "bert.vocabulary_size: expected 10, that of the model; received 120"),
        ({"max_words": 25}, "max_words: expected at most 24, the positions of BERT; received 25"),
        ({"feature_dim": 44}, r"feature_dim: expected a multiple of 6 \(groups\), received 44"),
        ({"decoder_heads": 7}, r"feature_dim: expected a multiple of 7 \(decoder_heads\), received 48"),
        ({"feature_dim": 54, "decoder_heads": 6}, "feature_dim: expected a multiple of 4, received 54"),
        ({"swin": {"heads": (5, 3, 4, 6)}}, "swin.heads: expected a divisor of 128, the channels of f0; received 5"),
        ({"bert": {"width": 40, "heads": 7}}, "bert.heads: expected a divisor of 40, the width; received 7"),
    ],
)
def test_sizes_that_do_not_go_together(changes, message):
    with pytest.raises(FieldError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize("bert", [{}, {"bert": {"width": 24}}])
def test_the_vocabulary_of_bert_is_that_of_the_model(bert):
    config = MaskRISConfig(vocabulary_size=40, **bert)
    assert config.bert == BertConfig(vocabulary_size=40, **bert.get("bert", {}))


@pytest.mark.slow
def test_full_size(parity):
    golden, config = read_golden("full"), MaskRISConfig()
    model = MaskRIS(config)
    shapes = read_manifest("full")
    assert len(model.weights) == len(shapes) - 1 == 901
    assert model.count_params() + np.prod(shapes[MASK_TOKEN]) == 226_572_792
    assign_by_rule(model.weights, maskris_pairs(config), shapes)
    outputs = model(inputs_of(golden, 0))
    found, expected = channels_first(outputs["coarse_logits"])[0], golden["0/logits"]
    parity.within("MaskRIS, full size: logits", found, expected, 2e-4)
    difference = expected[1] - expected[0]
    parity.within("MaskRIS, full size: difference of the logits", found[1] - found[0], difference, 1e-4)
    mask = np.unpackbits(golden["0/pred"])[: 448 * 448].reshape(448, 448)
    differing = (np.asarray(outputs["mask_logits"])[0, :, :, 0] > 0) != mask
    parity.within("MaskRIS, full size: share of pixels that differ", differing.mean(), 0.0, 1e-4)
