"""The whole model against the original's numbers, alone and in batches."""

import dataclasses

import keras
import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.precision import computing_in
from small import SMALL, subtract_mean

OUTPUTS = {"mask_logits": "up", "mask_logits_c3": "up_c3", "mask_logits_c4": "up_c4", "mask_logits_c5": "up_c5"}
SAMPLES = range(4)
LOGITS = "image model: upsampled logits of 4 samples, each alone and in one batch"
FULL_LOGITS = "image model at full size: coarse logits, with batch norms folded too"
STAGES = "image model: 23 stages, relative to each one's largest value"


@pytest.fixture(scope="module")
def tiny_inputs(tiny_golden):
    return {
        "image": subtract_mean(np.stack([tiny_golden[f"{k}/image"] for k in SAMPLES])),
        "token_ids": np.stack([tiny_golden[f"{k}/words"] for k in SAMPLES]),
    }


@pytest.fixture(scope="module")
def small_inputs():
    rng = np.random.default_rng(5)
    token_ids = rng.integers(1, SMALL.vocabulary_size, size=(4, SMALL.max_words))
    for row, words in enumerate((1, 20, 7, 3)):
        token_ids[row, : SMALL.max_words - words] = 0
    side = SMALL.image_size
    image = rng.integers(0, 256, size=(4, side, side, 3), dtype=np.uint8)
    return {"image": subtract_mean(image), "token_ids": token_ids.astype("int32")}


def take(inputs, index):
    return {name: value[index] for name, value in inputs.items()}


@pytest.mark.parametrize("sample", SAMPLES)
def test_tiny_golden_alone(sample, tiny_model, tiny_inputs, tiny_golden, parity):
    out = tiny_model(take(tiny_inputs, slice(sample, sample + 1)))
    for ours, theirs in OUTPUTS.items():
        parity.within(LOGITS, out[ours][0], tiny_golden[f"{sample}/{theirs}"], 1e-5)


def test_tiny_golden_in_one_batch(tiny_model, tiny_inputs, tiny_golden, parity):
    out = tiny_model(tiny_inputs)
    for sample in SAMPLES:
        for ours, theirs in OUTPUTS.items():
            parity.within(LOGITS, out[ours][sample], tiny_golden[f"{sample}/{theirs}"], 1e-5)


def test_tiny_golden_stage_by_stage(tiny_model, tiny_inputs, tiny_golden, parity):
    """Every stage within 1e-5 of the golden's largest value, alone and as part of a batch."""
    encoder, decoder = tiny_model.image_encoder, tiny_model.expression_decoder
    backbone = encoder.get_layer("backbone")
    layers = {
        "words_feat": "text_encoder",
        "words_parse": "word_parser",
        "necessary_lang": "necessary_feature",
        "convlstm": "conv_lstm",
        "pred": "score",
    }
    for level in ("c3", "c4", "c5"):
        layers |= {f"mutan_{level}": f"mutan_{level}", f"graph_{level}": f"relation_graph_{level}"}
        layers |= {f"fusion_{level}": f"fusion_{level}"}
        layers |= {f"exchange_{level}": f"exchange_{level}_round1", f"exchange_{level}_2": f"exchange_{level}_round2"}
    stages = {golden: decoder.get_layer(name).output for golden, name in layers.items()}
    stages["words_feat"] = stages["words_feat"][0]
    probe = keras.Model(decoder.inputs, stages)

    for batch in (slice(0, 1), slice(0, 4)):
        inputs = take(tiny_inputs, batch)
        taps = backbone(inputs["image"])
        features = encoder(inputs["image"])
        token_ids = keras.ops.convert_to_tensor(inputs["token_ids"])
        found = probe([features.get(tensor.name, token_ids) for tensor in decoder.inputs])
        found |= {f"backbone_{level}": tap for level, tap in taps.items()}
        for name, value in found.items():
            value, expected = np.asarray(value[0]), tiny_golden[f"0/{name}"]
            if name.startswith("words"):
                value = value[-expected.shape[1] :]  # The golden has the valid words only.
            value = value.reshape(expected.shape)
            parity.within(STAGES, value, expected, 1e-5, scale=np.abs(expected).max(), name=name)
        assert len(found) == 3 + len(layers)


def test_full_golden(full_model_file, full_golden, parity):
    model = load_model(full_model_file)
    image = subtract_mean(full_golden["0/image"])[None]
    token_ids = full_golden["0/words"][None]
    out = model({"image": image, "token_ids": token_ids})
    # Output pixels at multiples of 8 are the coarse logits themselves.
    for ours, theirs in {**OUTPUTS, "mask_logits": "pred"}.items():
        parity.within(FULL_LOGITS, out[ours][0, ::8, ::8], full_golden[f"0/{theirs}"], 2e-4)
    # The folded encoder, which inference uses, is held to the same.
    features = model.inference_encoder()(image)
    out = model.expression_decoder({**features, "token_ids": keras.ops.convert_to_tensor(token_ids)})
    parity.within(FULL_LOGITS, out["mask_logits"][0, ::8, ::8], full_golden["0/pred"], 2e-4)


def test_a_trained_weight_changes_the_output(small_model, small_inputs):
    """Every weight has a gradient, except those that cancel in exact arithmetic."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        out = small_model(small_inputs)
        loss = sum(tf.reduce_sum(tf.sin(7.0 * value)) for value in out.values())
    gradients = tape.gradient(loss, small_model.trainable_variables)
    for gradient, variable in zip(gradients, small_model.trainable_variables, strict=True):
        assert gradient is not None, variable.path
        if "/key/bias" not in variable.path:  # The softmax over cells cancels it.
            assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


@pytest.mark.parametrize("part, layers", [("word_types", "word_parser"), ("relation_graph", "relation_graph_c3")])
def test_parts_can_be_left_out(part, layers, tmp_path):
    """A model without a part can be saved and loaded; the complete model has the part."""
    config = dataclasses.replace(SMALL, without=(part,))
    model = CMPC(config, name="cmpc")
    save_model(model, tmp_path / "less.keras")
    assert load_model(tmp_path / "less.keras").config == config
    names = [layer.name for layer in model.expression_decoder.layers]
    assert layers not in names and "exchange_c3_round2" in names
    less = CMPC(dataclasses.replace(config, without=("exchange", part)), name="cmpc")
    assert not any("exchange" in layer.name for layer in less.expression_decoder.layers)
    with pytest.raises(InputError, match="without: expected a list of some of word_types"):
        dataclasses.replace(SMALL, without=("backbone",))


def test_folding_laterals_changes_no_feature(rng):
    """A tap that is narrower than its lateral skips it; the others do not."""
    config = dataclasses.replace(SMALL, feature_dim=40)  # c3 has 32 channels, c4 64.
    model = CMPC(config)
    for layer in ("lateral_c3", "mutan_visual_c3"):
        for variable in model.image_encoder.get_layer("visual_projection").get_layer(layer).weights:
            variable.assign(rng.normal(size=variable.shape))
    projection, folded = model.image_encoder.get_layer("visual_projection"), model.inference_projection()
    assert folded.get_layer("mutan_visual_c3").projection.kernel.shape[0] == 32 + 1 + 8
    assert folded.get_layer("mutan_visual_c4").projection.kernel.shape[0] == 40 + 8
    size = config.grid_size
    channels = zip(config.backbone.levels, (32, 64, 128), strict=True)
    taps = {level: rng.normal(size=(2, size, size, c)).astype("float32") for level, c in channels}
    expected, found = projection(taps), folded(taps)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-6, err_msg=name)


def test_float16_gives_finite_logits(small_model_file, small_inputs):
    """Neither sums over cells nor the value that masks pads fit into float16."""
    with computing_in("float16"):
        model = load_model(small_model_file)
    for logits in model(small_inputs).values():
        assert logits.dtype == "float32" and np.isfinite(logits).all()


def test_the_head_computes_in_float32_in_every_precision():
    """In bfloat16 it would move more pixels across the threshold than the rest of the model together."""
    with computing_in("bfloat16", weights="bfloat16"):
        layers = CMPC(SMALL).expression_decoder.layers
    dtypes = {layer.name: layer.compute_dtype for layer in layers}
    head = ("exchange", "conv_lstm", "score", "upsample")
    assert {dtype for name, dtype in dtypes.items() if name.startswith(head)} == {"float32"}
    assert dtypes["fusion_c3"] == dtypes["mutan_c3"] == dtypes["relation_graph_c3"] == "bfloat16"
