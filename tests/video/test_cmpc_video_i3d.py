"""CMPC-V on I3D against the graph of the original fed with I3D."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.conversion.names.i3d import i3d_pairs
from cmpc_tf2.conversion.tf1 import convert_back
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.cmpc.visual_projection import fold_laterals
from cmpc_tf2.recipes.losses import is_decayed
from cmpc_tf2.training.trainer import Trainer
from cmpc_video_tf2.config import CMPCVideoConfig, VideoTrainConfig
from cmpc_video_tf2.conversion import video_pairs
from cmpc_video_tf2.models.clip_taps import clip_taps
from cmpc_video_tf2.models.cmpc_video import CMPCVideo, annotated_features
from cmpc_video_tf2.recipe import CMPC_VIDEO
from convert_tf1_ckpt import main
from original import GOLDEN, checkpoint_values, read_manifest, write_checkpoint
from small import subtract_mean

FILE = "i3d/cmpc_video_i3d_tiny"
OUTPUTS = {"mask_logits_c3": "up_c3", "mask_logits_c4": "up_c4", "mask_logits_c5": "up_c5"}
SAMPLES = range(3)
STAGES = "video model on I3D: 19 stages, relative to each one's largest value"
LOGITS = "video model on I3D: logits of 3 samples, each alone and in one batch"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / f"{FILE}.npz"))


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = str(tmp_path_factory.mktemp("i3d") / "a2d_iter_6.tfmodel")
    write_checkpoint(prefix, checkpoint_values(FILE))
    return prefix


@pytest.fixture(scope="module")
def converted(prefix, tmp_path_factory):
    """The model file and the conversion report."""
    folder = tmp_path_factory.mktemp("i3d")
    options = ["--output", str(folder / "video.keras"), "--report", str(folder / "report.json")]
    assert main(["--checkpoint", prefix, *options]) == 0
    return folder / "video.keras", json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def model(converted):
    return load_model(converted[0], CMPCVideo)


@pytest.fixture(scope="module")
def inputs(golden):
    return {
        "clip": np.stack([subtract_mean(golden[f"{k}/clip"]) for k in SAMPLES]),
        "token_ids": np.stack([golden[f"{k}/words"] for k in SAMPLES]),
    }


def test_outputs_alone_and_in_a_batch(model, inputs, golden, parity):
    batch = model(inputs)
    for sample in SAMPLES:
        alone = model({name: value[sample : sample + 1] for name, value in inputs.items()})
        for outputs, index in ((alone, 0), (batch, sample)):
            for output, name in OUTPUTS.items():
                parity.within(LOGITS, outputs[output][index], golden[f"{sample}/{name}"], 1e-5, name=output)
            coarse = outputs["mask_logits"][index, ::8, ::8]
            parity.within(LOGITS, coarse, golden[f"{sample}/pred"], 1e-5, name="mask_logits")


def test_the_report_accounts_for_every_variable(converted, prefix):
    report = converted[1]
    assert report["config"]["backbone_type"] == "i3d" and report["config"]["backbone"] == {"width": 8}
    names = {one["tf1"] for one in report["converted"]} | {one["tf1"] for one in report["ignored"]}
    assert names == set(TF1Checkpoint(prefix).shapes)


def test_stages(model, inputs, golden, parity):
    """Each within 1e-5 of its largest value; `visual` are the normalised laterals of all time steps."""
    names = {"conv_lstm": "convlstm"}
    for level in ("c3", "c4", "c5"):
        names |= {name: name for name in (f"mutan_{level}", f"temporal_graph_{level}", f"temporal_context_{level}")}
        names |= {f"fusion_{level}": f"fusion_{level}", f"relation_graph_{level}": f"graph_{level}"}
    encoder, decoder = model.image_encoder, model.expression_decoder
    stages = keras.Model(decoder.input, {name: decoder.get_layer(name).output for name in names})
    clip = inputs["clip"][:1]
    found = stages({**encoder(clip), "token_ids": keras.ops.convert_to_tensor(inputs["token_ids"][:1])})
    projection = encoder.get_layer("visual_projection")
    laterals = {f"visual_{level}": projection.output[f"lateral_{level}"] for level in ("c3", "c4", "c5")}
    taps = clip_taps(model.config, model.get_backbone(), keras.ops.convert_to_tensor(clip))
    found |= keras.Model(projection.input, laterals)(taps)
    for ours, theirs in {**names, **{name: name for name in laterals}}.items():
        expected = golden[f"0/{theirs}"]
        value = np.asarray(found[ours]).reshape(expected.shape)
        parity.within(STAGES, value, expected, 1e-5, np.abs(expected).max(), theirs)


def test_the_inference_form_changes_nothing(model, inputs):
    """Folded batch norms and laterals, and resizing behind the product."""
    expected = model.image_encoder(inputs["clip"])
    for name, found in model.inference_encoder()(inputs["clip"]).items():
        np.testing.assert_allclose(found, expected[name], atol=2e-5, err_msg=name)


def test_folding_laterals_of_small_maps_changes_nothing(rng):
    """c3 has the cells of the grid; of c4 and c5, which have fewer, c4 is narrower than its lateral."""
    sizes = {"image_size": 40, "vocabulary_size": 9, "feature_dim": 112, "fusion_dim": 6}
    config = CMPCVideoConfig(**sizes, backbone_type="i3d", backbone={"width": 8})
    projection = CMPCVideo.build_visual_projection(config)
    for variable in projection.variables:
        variable.assign(rng.normal(0, 0.2, size=variable.shape))
    assert {level: config.level_grid(level) for level in ("c3", "c4", "c5")} == {"c3": 5, "c4": 3, "c5": 2}
    taps = {name: rng.random((2, *tensor.shape[1:]), "float32") for name, tensor in projection.input.items()}
    folded = fold_laterals(projection, config)
    layers = {layer.name for layer in folded.layers}
    assert {"scaled_c3", "tap_c4_with_one"} <= layers and not {"scaled_c4", "tap_c5_with_one"} & layers
    expected = projection(taps)
    for name, found in folded(taps).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5, err_msg=name)


def test_six_steps(converted, golden, parity):
    model = load_model(converted[0], CMPCVideo)
    trainer = Trainer(model, VideoTrainConfig("a2d", "train", decay_steps=800_000))
    losses = []
    for step in range(6):
        sample = step % 3
        mask = golden[f"{sample}/mask"][None, ..., None].astype("float32")
        trainer.reset_metrics()
        found = {"clip": subtract_mean(golden[f"{sample}/clip"])[None], "token_ids": golden[f"{sample}/words"][None]}
        losses.append(float(trainer.train_on_batch(found, mask, return_dict=True)["loss"]))
    expected = golden["train/trajectory"][:, golden["train/columns"].tolist().index("total")]
    parity.within("video model on I3D: losses of six training steps, relative", losses / expected, np.ones(6), 1e-5)
    found = {"clip": subtract_mean(golden["0/clip"])[None], "token_ids": golden["0/words"][None]}
    coarse = np.asarray(model(found)["mask_logits"])[0, ::8, ::8]
    parity.within("video model on I3D: coarse logits after them", coarse, golden["train/pred_end"], 1e-5)


def test_gradients_of_fine_tuning(converted, golden, parity):
    """Of the loss without decay, for all kernels of the backbone, those included that fine-tuning leaves alone."""
    model = load_model(converted[0], CMPCVideo)
    kernels = {pair.tf1: pair.keras for pair in i3d_pairs(model.config.backbone) if pair.tf1.endswith("/w")}
    variables = {variable.path: variable for variable in model.variables}
    inputs = {"clip": subtract_mean(golden["0/clip"])[None], "token_ids": golden["0/words"][None]}
    mask = keras.ops.convert_to_tensor(golden["0/mask"][None, ..., None].astype("float32"))
    with tf.GradientTape() as tape:
        ((loss, _, _),) = CMPC_VIDEO.losses(lambda inputs: model(inputs, training=True), inputs, mask, 1.0)
    names = [str(name) for name in golden["finetune/kernel_names"]]
    assert sorted(names) == sorted(kernels)
    gradients = tape.gradient(loss, [variables[kernels[name]].value for name in names])
    for name, gradient, norm in zip(names, gradients, golden["finetune/gradient_norms_step0"], strict=True):
        what = "video model on I3D: norms of the gradients of fine-tuning, relative"
        parity.within(what, tf.norm(gradient), norm, 1e-4, norm, name)


def test_fine_tuning_trains_and_decays_the_kernels_of_the_blocks(model):
    trained = CMPC_VIDEO.trained_variables(model, finetune_backbone=True)
    of_backbone = {variable.path for variable in model.get_backbone().variables}
    added = {variable.path for variable in trained} & of_backbone
    assert added == {variable.path for variable in model.get_backbone().finetuned_variables()} and len(added) == 54
    assert all(is_decayed(path) for path in added)
    frozen = CMPC_VIDEO.trained_variables(model, finetune_backbone=False)
    assert not {variable.path for variable in frozen} & of_backbone


def test_converting_back_gives_the_same_bytes(converted, prefix, tmp_path):
    count = convert_back(str(converted[0]), str(tmp_path / "back"))
    checkpoint, original = TF1Checkpoint(str(tmp_path / "back")), TF1Checkpoint(prefix)
    assert count == len(checkpoint.shapes) == len(converted[1]["converted"])
    for name in checkpoint.shapes:
        assert checkpoint.read(name).tobytes() == original.read(name).tobytes(), name


def test_names_at_full_size_are_the_goldens():
    manifest = read_manifest("i3d/cmpc_video_i3d_full")
    weights = {name for name in manifest if "Adam" not in name and "_power" not in name}
    pairs = video_pairs(CMPCVideoConfig(backbone_type="i3d"))
    assert {pair.tf1 for pair in pairs} == weights - {"text_objseg/Variable_1"}
    assert sum(pair.tf1.startswith("RGB/") for pair in pairs) == 228


@pytest.mark.slow
def test_full_size(parity, tmp_path):
    golden = np.load(GOLDEN / "i3d" / "cmpc_video_i3d_full.npz")
    write_checkpoint(str(tmp_path / "full"), checkpoint_values("i3d/cmpc_video_i3d_full"))
    assert main(["--checkpoint", str(tmp_path / "full"), "--output", str(tmp_path / "full.keras")]) == 0
    model = load_model(tmp_path / "full.keras", CMPCVideo)
    clip = np.random.RandomState(1).randint(0, 256, (16, 320, 320, 3)).astype("uint8")
    found = model({"clip": subtract_mean(clip)[None], "token_ids": golden["words"].reshape(1, 20)})
    what = "video model on I3D at full size: logits"
    parity.within(what, np.asarray(found["mask_logits"])[0, ::8, ::8], golden["pred"], 2e-4)
    for ours, theirs in OUTPUTS.items():
        expected = golden[next(key for key in golden if key.startswith(theirs))]
        parity.within(what, np.asarray(found[ours])[0, ::8, ::8].reshape(expected.shape), expected, 2e-4, name=ours)


@pytest.mark.parametrize("features, weights", [
    ("step", {"c3": [0, 0, 0, 0, 1, 0, 0, 0], "c4": [0, 0, 1, 0], "c5": [0, 1]}),
    ("mean", {"c3": [1 / 8] * 8, "c4": [1 / 4] * 4, "c5": [1 / 2] * 2}),
    ("interpolation", {"c3": [0, 0, 0, 0.5, 0.5, 0, 0, 0], "c4": [0, 0.75, 0.25, 0], "c5": [0.625, 0.375]}),
])  # fmt: skip
def test_features_of_the_annotated_frame(features, weights):
    """Steps are centred on frames 2t + 1, 4t + 3 and 8t + 5; the annotated frame has index 8."""
    config = CMPCVideoConfig(backbone_type="i3d", annotated_features=features)
    assert {level: config.annotated_weights(level) for level in weights} == weights
    r2d = CMPCVideoConfig(annotated_features=features).annotated_weights("c4")
    assert r2d == ([0.2] * 5 if features == "mean" else [0, 0, 1, 0, 0])
    maps = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 2, 3, 3, 4)).astype("float32"))
    total = np.tensordot(weights["c5"], np.moveaxis(np.asarray(maps), 1, 0), axes=1)
    if features != "step":
        total /= np.linalg.norm(total, axis=-1, keepdims=True)
    np.testing.assert_allclose(annotated_features(maps, config.annotated_weights("c5")), total, atol=1e-6)
