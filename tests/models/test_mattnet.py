"""The matching network of MAttNet against the original's numbers."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops

from cmpc_tf2.conversion.names.mattnet import mattnet_pairs
from cmpc_tf2.fields import FieldError, from_dict
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.matching_network import MatchingNetwork
from cmpc_tf2.recipes.mattnet import ranking_loss
from cmpc_tf2.tasks.boxes.candidates import attribute_scores, chooses_annotation
from cogrounding_original import recording
from mattnet_original import (
    TINY,
    assign_by_rule,
    make_network,
    network_inputs,
    picture_features,
    read_data,
    read_golden,
    rows_of,
)
from twostage_original import GOLDEN, read_manifest

# Modules in the order of their weights, as the original's names have them.
SHORT = ("sub", "loc", "rel")


@pytest.fixture(scope="module")
def golden():
    return read_golden()


@pytest.fixture(scope="module")
def network():
    return make_network()


def labels_of(*sentences: int) -> np.ndarray:
    return read_golden()["labels"][list(sentences)]


def run(network, image_id: int, token_ids: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for expressions about a picture: the boxes are encoded once."""
    encoded = network.encode(network_inputs(image_id))
    outputs = network.decode(encoded, token_ids)
    return {name: np.asarray(value) for name, value in {**outputs, "attributes": encoded["attributes"]}.items()}


def run_sample(network, golden, sample: int) -> dict[str, np.ndarray]:
    return run(network, int(golden[f"{sample}/image_id"]), labels_of(int(golden[f"{sample}/sent_id"])))


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_outputs(sample, network, golden, parity):
    found, length = run_sample(network, golden, sample), golden[f"{sample}/sub_attn"].shape[1]
    what = "MAttNet, small"
    parity.within(f"{what}: scores", found["scores"][0], golden[f"{sample}/scores"], 1e-6)
    parity.within(f"{what}: weights", found["weights"][0], golden[f"{sample}/weights"][0], 1e-6)
    parity.within(f"{what}: cells", found["grid_attention"][0], golden[f"{sample}/sub_grid_attn"], 1e-6)
    parity.within(f"{what}: attributes", found["attributes"][0], golden[f"{sample}/att_scores"], 1e-5)
    for row, module in enumerate(SHORT):
        attention = found["word_attention"][0, row]
        parity.within(f"{what}: words", attention[:length], golden[f"{sample}/{module}_attn"][0], 1e-6, name=module)
        assert (attention[length:] == 0).all()
    is_defined = found["module_scores"][0, :, 2] != 0
    np.testing.assert_array_equal(found["context"][0][is_defined], golden[f"{sample}/rel_ixs"][is_defined])


def stages(recorded: dict, outputs: dict) -> dict[str, np.ndarray]:
    """Stages of one expression by the golden's names, in its layout."""
    words = recorded["rnn_encoder"]
    attended, attention = (np.asarray(value)[0] for value in recorded["sub_encoder.attn_fuse"])
    found = {f"rnn_encoder/{name}": words[name] for name in ("embedded", "context")}
    found |= {"rnn_encoder/hidden": words["sentence"]}
    for module in SHORT:
        found[f"{module}_attn/phrase"], found[f"{module}_attn/attn"] = recorded[f"{module}_attn"]
    found |= {
        "sub_encoder.att_fuse/out": np.maximum(recorded["sub_encoder.att_fuse.1"], 0)[0].reshape(-1, TINY.joint_dim),
        "sub_encoder/feats": attended,
        "sub_encoder/grid_attn": attention,
        "sub_encoder/att_scores": outputs["attributes"][0],
        "sub_matching.vis_emb_fc/out": np.asarray(recorded["sub_matching.vis_emb_fc.5"])[0],
        "sub_matching.lang_emb_fc/out": recorded["sub_matching.lang_emb_fc.5"],
        "loc_encoder/out": np.asarray(recorded["loc_encoder.fc"])[0],
        "rel_encoder/feats": np.asarray(recorded["rel_encoder.fc"])[0],
        "sub_matching/out": outputs["module_scores"][0, :, :1],
        "loc_matching/out": outputs["module_scores"][0, :, 1:2],
        "rel_matching/scores": outputs["module_scores"][0, :, 2:],
    }
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.mark.parametrize("sample", [0, 2])
def test_stages(sample, network, golden, parity):
    with recording() as recorded:
        outputs = run_sample(network, golden, sample)
    found, prefix = stages(recorded, outputs), f"{sample}/stage/"
    names = {name.removeprefix(prefix) for name in golden if name.startswith(prefix)}
    assert names - {"rel_encoder/masks", "rel_matching/ixs"} == found.keys()
    for name, value in found.items():
        expected = golden[prefix + name]
        if name.startswith(("rnn_encoder", *(f"{module}_attn" for module in SHORT), "sub_matching.lang")):
            expected = expected[:1]  # The original repeats the expression for each box.
            value = value[:, : expected.shape[1]]  # And cuts it to its words.
        parity.within("MAttNet, small: stages", value, expected, 1e-5, max(np.abs(expected).max(), 1), name)
    masks = network.encode(network_inputs(int(golden[f"{sample}/image_id"])))["is_context"]
    np.testing.assert_array_equal(np.asarray(masks)[0], golden[f"{prefix}rel_encoder/masks"])


def test_several_expressions_about_one_picture(network):
    sentences = (0, 3, 2, 10, 13, 6, 8)
    together = run(network, 13, labels_of(*sentences))
    assert together["scores"].shape == (7, 8) and together["grid_attention"].shape == (7, 8, 49)
    assert together["word_attention"].shape == (7, 3, 10) and together["context"].dtype == np.int32
    for row, sentence in enumerate(sentences):
        alone = run(network, 13, labels_of(sentence))
        for name, value in alone.items():
            if name != "attributes":
                np.testing.assert_allclose(together[name][row], value[0], rtol=0, atol=2e-6, err_msg=name)


def test_pairs_are_scored_as_boxes_of_a_picture(network):
    """The form for training: pairs of a box and an expression, of any pictures; a box is given once for its pairs."""
    sentences, pairs = (0, 10, 3), []
    expected = {image: run(network, image, labels_of(*sentences)) for image in (11, 13)}
    for image in (11, 13):
        ids = read_data().pictures[image].annotation_ids
        pairs += [(image, place, box, row) for place, box in enumerate(ids) for row in range(3)]
    boxes, rows = np.unique([box for _, _, box, _ in pairs], return_inverse=True)
    inputs = {**rows_of(boxes.tolist()), "rows": rows}
    outputs = network({**inputs, "token_ids": labels_of(*(sentences[row] for *_, row in pairs))})
    assert len(boxes) == 12
    assert np.asarray(outputs["scores"]).shape == (36, 1)
    for index, (image, place, _, row) in enumerate(pairs):
        for name in ("scores", "module_scores", "grid_attention", "context"):
            one = np.asarray(outputs[name])[index, 0]
            np.testing.assert_allclose(one, expected[image][name][row, place], rtol=0, atol=2e-6, err_msg=name)
        found = np.asarray(outputs["attributes"])[index, 0]
        np.testing.assert_allclose(found, expected[image]["attributes"][0, place], rtol=0, atol=1e-5)


def test_several_pictures_at_once(network):
    """Each with its own expression, if they have as many boxes."""
    inputs = [{name: value[:, :4] for name, value in network_inputs(image).items()} for image in (11, 12)]
    both = {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
    outputs = network({**both, "rows": np.arange(2), "token_ids": labels_of(0, 6)})
    for row, (one, sentence) in enumerate(zip(inputs, (0, 6), strict=True)):
        alone = network({**one, "rows": np.zeros(1, "int32"), "token_ids": labels_of(sentence)})
        for name in ("scores", "grid_attention", "attributes"):
            np.testing.assert_allclose(outputs[name][row], alone[name][0], rtol=0, atol=1e-5, err_msg=name)


def test_slots_behind_the_expression_do_not_count(network, golden):
    longer = make_network(dataclasses.replace(TINY, max_words=13))
    padded = np.pad(labels_of(0, 3), [(0, 0), (0, 3)])
    expected, found = run(network, 11, labels_of(0, 3)), run(longer, 11, padded)
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-6)
    assert (found["word_attention"][:, :, 10:] == 0).all()
    np.testing.assert_allclose(found["word_attention"].sum(-1), 1, atol=1e-6)


def test_one_word(network, golden):
    found = run(network, 11, labels_of(3))
    np.testing.assert_allclose(found["word_attention"][0, :, 0], 1, atol=1e-6)
    changed = labels_of(3)
    changed[0, 0] = 5
    assert np.abs(run(network, 11, changed)["scores"] - found["scores"]).max() > 1e-3


def test_one_box_without_others(network, golden):
    found = run_sample(network, golden, 1)
    assert found["scores"].shape == (1, 1) and (found["module_scores"][..., 2] == 0).all()
    weighted = found["weights"][0, :2] @ found["module_scores"][0, 0, :2]
    assert found["scores"][0, 0] == pytest.approx(weighted, abs=1e-6)


def test_a_missing_other_box_wins_over_negative_cosines(network):
    """Picture 12 has five boxes: each has four others, and a fifth slot that counts as 0."""
    found = run(network, 12, labels_of(*range(14)))
    relations, chosen = found["module_scores"][..., 2], found["context"]
    assert relations.min() == 0 and relations.max() > 0
    assert (chosen[relations == 0] == 4).all() and (chosen[relations > 0] < 4).all()


def test_order_of_boxes_does_not_count(network):
    order = np.array([5, 2, 0, 7, 1, 6, 4, 3])
    expected = run(network, 13, labels_of(10))["scores"]
    inputs = {name: value[:, order] for name, value in network_inputs(13).items()}
    found = network.decode(network.encode(inputs), labels_of(10))["scores"]
    np.testing.assert_allclose(found, expected[:, order], rtol=0, atol=1e-6)


def test_dropout_and_batch_statistics_belong_to_training():
    network = make_network()
    inputs = {**rows_of([101, 104, 110, 118]), "token_ids": labels_of(0, 3, 10, 13)}
    before = network.get_weights()
    evaluated = [np.asarray(network(inputs)["scores"]) for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    trained = [np.asarray(network(inputs, training=True)["scores"]) for _ in range(2)]
    assert not np.array_equal(*trained)
    of_one_box = network({**inputs, "rows": np.zeros(4, "int32")}, training=True)["attributes"]
    assert not np.array_equal(of_one_box[0], of_one_box[1])  # Dropout is that of pairs.
    moved = {v.path for v, old in zip(network.weights, before, strict=True) if not np.array_equal(v.numpy(), old)}
    assert moved == {v.path for v in network.weights if "/running_" in v.path} and len(moved) == 26
    rates = {layer.name: layer.rate for layer in network._flatten_layers() if isinstance(layer, keras.layers.Dropout)}
    joint = {f"{module}_matching.{side}_emb_fc.3": 0.1 for module in SHORT for side in ("vis", "lang")}
    assert rates == {"dropout": 0.5, "sub_encoder.att_dropout": 0.2, **joint}


def test_every_weight_is_trained():
    import tensorflow as tf

    network = make_network()
    inputs = {**rows_of([101, 104, 110]), "token_ids": labels_of(0, 3, 10)}
    with tf.GradientTape() as tape:
        outputs = network(inputs, training=True)
        loss = ranking_loss(outputs["scores"]) + ops.mean(outputs["attributes"])
    gradients = tape.gradient(loss, network.trainable_variables)
    assert len(gradients) == 90 and all(gradient is not None for gradient in gradients)


def test_every_parameter_has_a_place(network):
    pairs = mattnet_pairs(TINY)
    assert sorted(pair.keras for pair in pairs) == sorted(variable.path for variable in network.weights)
    assert {pair.torch for pair in pairs} == read_manifest("mattnet_tiny").keys() and len(
        read_manifest("mattnet_tiny")
    ) == 115
    assert {pair.torch for pair in mattnet_pairs(MAttNetConfig())} == read_manifest("mattnet_full").keys()


def test_full_size():
    network = MatchingNetwork(MAttNetConfig())
    shapes = {variable.path: tuple(variable.shape) for variable in network.weights}
    total = sum(np.prod(shape) for shape in read_manifest("mattnet_full").values())
    assert network.count_params() == total == 13_968_476
    for pair in mattnet_pairs(MAttNetConfig()):
        expected = read_manifest("mattnet_full")[pair.torch]
        found = shapes[pair.keras][::-1] if pair.transform == "linear" else shapes[pair.keras]
        if pair.inputs:
            expected = (expected[0], pair.inputs[1] - pair.inputs[0])
        assert found == expected, pair


def test_initial_values():
    """Those of PyTorch 0.2: uniform within the inverse root of the inputs; factors of batch norms from 0 to 1."""
    keras.utils.set_random_seed(0)
    weights = {variable.path: ops.convert_to_numpy(variable) for variable in MatchingNetwork(TINY).weights}
    shapes = {pair.keras: read_manifest("mattnet_tiny")[pair.torch] for pair in mattnet_pairs(TINY)}
    for path, value in weights.items():
        layer, _, name = path.rpartition("/")
        if name == "weight":
            assert (value == 20).all(), path
        elif name == "gamma":
            assert value.min() >= 0 and value.max() <= 1 and value.std() == pytest.approx(12**-0.5, rel=0.4), path
        elif name in ("beta", "running_mean", "running_var"):
            assert (value == (name == "running_var")).all(), path
        elif name == "embeddings":
            assert value.std() == pytest.approx(1, rel=0.1) and np.abs(value).max() > 2.5, path
        else:
            kernel = shapes.get(f"{layer}/kernel")
            bound = 1 / np.sqrt(TINY.lstm_units if "rnn/" in path else kernel[1])
            assert np.abs(value).max() <= bound, path
            assert value.size < 200 or np.abs(value).max() > 0.97 * bound, path


def test_saved_and_loaded(network, golden, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", compile=False)
    assert type(loaded) is MatchingNetwork and loaded.config == TINY
    np.testing.assert_array_equal(run(loaded, 13, labels_of(10))["scores"], run(network, 13, labels_of(10))["scores"])
    network.save_weights(tmp_path / "network.weights.h5")
    other = MatchingNetwork(TINY)
    other.load_weights(tmp_path / "network.weights.h5")
    for found, expected in zip(other.weights, network.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_sizes(network):
    assert from_dict(MAttNetConfig, TINY.to_dict()) == TINY
    assert MatchingNetwork(TINY.to_dict()).config == TINY
    with pytest.raises(FieldError, match="joint_dim: expected a whole number from 1 to 10000, received 0"):
        MAttNetConfig(joint_dim=0)
    with pytest.raises(FieldError, match="contexts: expected a whole number"):
        MAttNetConfig(contexts=5.5)


def test_float64_is_exact():
    """In float64, all ways of computing agree to the last digits."""
    keras.config.set_dtype_policy("float64")
    try:
        exact = MatchingNetwork(TINY)
    finally:
        keras.config.set_dtype_policy("float32")
    assign_by_rule(exact)
    inputs = {name: value.astype("float64") for name, value in network_inputs(13).items()}
    outputs = exact({**inputs, "rows": np.zeros(1, "int32"), "token_ids": labels_of(10)})
    types = {name: keras.backend.standardize_dtype(value.dtype) for name, value in outputs.items()}
    assert types.pop("context") == "int32" and set(types.values()) == {"float64"}
    rows = {name: np.swapaxes(value, 0, 1) for name, value in inputs.items()}
    by_pair = exact({**rows, "rows": np.arange(8), "token_ids": np.repeat(labels_of(10), 8, axis=0)})
    np.testing.assert_allclose(np.asarray(by_pair["scores"])[:, 0], outputs["scores"][0], rtol=0, atol=1e-14)


def test_the_originals_evaluation(network, golden, parity):
    """Its report of the split val: by annotated boxes, with attributes."""
    expected, data = json.loads((GOLDEN / "mattnet_eval.json").read_text()), read_data()
    predictions = iter(expected["predictions"])
    hits, losses, logits, labels = [], [], [], []
    for image_id in data.pictures_of("val"):
        picture = data.pictures[image_id]
        ids = [*picture.annotation_ids, -1]
        for reference in (data.references[number] for number in picture.reference_ids):
            target = ids.index(reference.annotation_id)
            found = run(network, image_id, labels_of(*reference.sentence_ids))
            logits.append(found["attributes"][0, target])
            for row, (sentence, scores) in enumerate(zip(reference.sentence_ids, found["scores"], strict=True)):
                prediction, best = next(predictions), int(np.argmax(scores))
                assert (prediction["sent_id"], prediction["gd_ann_id"]) == (sentence, reference.annotation_id)
                assert prediction["pred_ann_id"] == ids[best]
                other = picture_features(image_id)["others"][best, found["context"][row, best]]
                assert prediction["rel_ann_id"] == ids[other] or found["module_scores"][row, best, 2] == 0
                parity.within("MAttNet: evaluation", found["weights"][row], prediction["weights"], 1e-6)
                probabilities = 1 / (1 + np.exp(-found["attributes"][0, best]))
                top = np.argsort(-probabilities)[:5]
                assert [data.attributes[number] for number in top] == [word for word, _ in prediction["pred_atts"]]
                shown = [share for _, share in prediction["pred_atts"]]
                parity.within("MAttNet: evaluation", probabilities[top], shown, 1e-6)
                hits.append(chooses_annotation(scores, target))
                others = np.delete(scores, target)
                losses.append(max(0, 0.1 + others.max() - scores[target]) if others.size else 0)
        labels += [data.attribute_labels(number) for number in picture.reference_ids]
    assert next(predictions, None) is None
    assert np.mean(hits) == expected["accuracy"]
    parity.within("MAttNet: evaluation", np.mean(losses), expected["loss"], 1e-6)
    assert dataclasses.asdict(attribute_scores(np.stack(logits), np.stack(labels))) == expected["overall"]
