"""Training of MaskRIS: six steps against the original's, in parts, resumed, in lower precision, on two devices."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.cli import main
from cmpc_tf2.conversion.names.maskris import MASK_TOKEN, maskris_pairs
from cmpc_tf2.data.batches import MANIFEST, Sample, batch_path, split_folder, write_batch
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.precision import computing_in
from cmpc_tf2.recipes import adamw
from cmpc_tf2.recipes.adamw import parameter_group
from cmpc_tf2.recipes.maskris import MASKRIS
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.run_log import read_log
from cmpc_tf2.training.trainer import Trainer
from maskris_original import AXES, GOLDEN, TINY, assign_by_rule, read_golden, read_manifest

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# The factor of the rate and whether a parameter is decayed, by its group in the goldens.
GROUPS = [(0.1, False), (0.1, True), (0.1, False), (0.1, True), (1.0, False), (1.0, True)]


@pytest.fixture(scope="module")
def tiny():
    return read_golden("tiny")


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_groups_are_the_originals(size, tiny):
    if size == "tiny":
        config = TINY
        groups = dict(zip(tiny["train/parameter_names"], tiny["train/group_of_parameter"], strict=True))
    else:
        config = MaskRISConfig()
        entries = json.loads((GOLDEN / "maskris_full_manifest.json").read_text())["parameters"]
        groups = {entry["name"]: entry["group"] for entry in entries if entry["kind"] == "parameter"}
    pairs = maskris_pairs(config)
    assert set(groups) - {pair.torch for pair in pairs} == {MASK_TOKEN}
    for pair in pairs:
        assert parameter_group(pair.keras) == GROUPS[groups[pair.torch]], pair


def to_torch(value: np.ndarray, transform: str) -> np.ndarray:
    """A weight of Keras with the axes of PyTorch."""
    return value.transpose(np.argsort(AXES[transform])) if transform in AXES else value


def torch_norm(value: np.ndarray) -> float:
    """The norm as PyTorch 1.11 computed it: it adds one square after another in float32, which loses 1e-5 of it."""
    return np.sqrt(np.cumsum(np.square(value).ravel())[-1])


@pytest.fixture
def trained():
    return make_trained()


def make_trained() -> tuple[MaskRIS, dict]:
    """A small network with the weights of the goldens; its weights by the original's name, each with its transform."""
    model, pairs = MaskRIS(TINY), maskris_pairs(TINY)
    assign_by_rule(model.trainable_variables, pairs, read_manifest("tiny"))
    variables = {variable.path: variable for variable in model.trainable_variables}
    assert len(variables) == len(pairs)
    return model, {pair.torch: (variables[pair.keras], pair.transform) for pair in pairs}


def batch_of_step(tiny: dict, step: int) -> tuple[dict, tf.Tensor]:
    """The inputs and the masks of a step of the original."""
    samples = tiny["train/samples"][step]
    images = np.stack([(tiny[f"{sample}/image"] / 255 - MEAN) / DEVIATION for sample in samples])
    token_ids, token_mask, masks = (
        np.stack([tiny[f"{sample}/{name}"] for sample in samples]) for name in ("ids", "attention", "mask")
    )
    masked = images.copy()
    for image, noise in zip(masked, tiny["train/noise"][step], strict=True):
        for patch in np.argsort(noise)[int(len(noise) * 0.25) :]:
            row, column = 32 * (patch // 3), 32 * (patch % 3)
            image[row : row + 32, column : column + 32] = 0
    if step == 0:
        np.testing.assert_allclose(masked.transpose(0, 3, 1, 2), tiny["train/image_masked_step0"], atol=1e-5)
    inputs = {"image": images, "token_ids": token_ids, "token_mask": token_mask}
    inputs |= {"masked_image": masked, "masked_token_ids": tiny["train/ids_masked"][step]}
    types = {name: tf.float32 if "image" in name else tf.int32 for name in inputs}
    inputs = {name: tf.constant(value, types[name]) for name, value in inputs.items()}
    return inputs, tf.constant(masks[..., None] > 0, tf.float32)


def settings(model, **more) -> TrainConfig:
    return TrainConfig("unc", "train", model_name="maskris", model=model.config, **more)


def without_dropout(trainer: Trainer) -> Trainer:
    """The trainer, from now on with forward passes as in inference."""
    trainer._forward = lambda inputs: trainer({name: inputs[name] for name in trainer.input})
    return trainer


def test_six_steps_are_the_originals(trained, tiny, monkeypatch, parity):
    model, weights = trained
    monkeypatch.setattr(TrainConfig, "make_recipe", lambda _: dataclasses.replace(MASKRIS, warmup_steps=3))
    trainer = without_dropout(Trainer(model, settings(model, batch_size=2, steps=8)))
    summed, gradients = adamw.sum_over_devices, []
    monkeypatch.setattr(adamw, "sum_over_devices", lambda given: gradients.append(summed(given)) or gradients[-1])
    step_function = tf.function(lambda data: (trainer.train_step(data), gradients.pop()), autograph=False)
    columns = {name: number for number, name in enumerate(tiny["train/columns"])}
    initial = {name: variable.numpy() for name, (variable, _) in weights.items()}
    for step, row in enumerate(tiny["train/trajectory"]):
        rate = float(trainer.base_optimizer.learning_rate)
        trainer.reset_metrics()
        result, found = step_function(batch_of_step(tiny, step))
        for name, column in (("mask_logits_loss", "loss_plain"), ("masked_loss", "loss_masked")):
            expected = row[columns[column]]
            what = "MaskRIS: losses of six training steps, relative"
            parity.within(what, result[name], expected, 1e-5, expected, column)
        norm, expected = tf.linalg.global_norm(found), row[columns["gradient_norm"]]
        parity.within("MaskRIS: norms of the whole gradient, relative", norm, expected, 2e-4, expected)
        for group, (factor, _) in enumerate(GROUPS):
            assert rate * factor == pytest.approx(row[columns[f"learning_rate_group{group}"]], rel=1e-6)
        if step == 0:
            paths = [variable.path for variable in trainer.trainable_variables]
            assert_gradients(dict(zip(paths, found, strict=True)), weights, tiny, parity)

    names = list(tiny["train/parameter_names"])
    for name, norm, first, gradient in zip(
        names,
        tiny["train/parameter_norms_end"],
        tiny["train/parameter_first_end"],
        tiny["train/gradient_norms_step0"],
        strict=True,
    ):
        if gradient < 1e-6:  # None, or the rounding noise of a bias that a softmax cancels.
            continue
        variable, transform = weights[name]
        value = to_torch(variable.numpy(), transform)
        what = "MaskRIS: norms of parameters after six steps, relative"
        parity.within(what, torch_norm(value), norm, 1e-5, norm, name)
        assert value.flat[0] == pytest.approx(first, abs=1e-6), name
    padding = weights["backbone.lang_encoder.embeddings.word_embeddings.weight"][0].numpy()
    initial = initial["backbone.lang_encoder.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(padding[0], initial[0])
    assert np.abs(padding[103] - initial[103]).max() > 0

    sample = {name: tiny[f"0/{key}"][None] for name, key in (("token_ids", "ids"), ("token_mask", "attention"))}
    sample["image"] = ((tiny["0/image"] / 255 - MEAN) / DEVIATION)[None].astype(np.float32)
    logits, expected = model(sample)["coarse_logits"][0].numpy(), tiny["train/logits_end"]
    difference = logits[..., 1] - logits[..., 0]
    parity.within("MaskRIS: difference of the logits after six steps", difference, expected[1] - expected[0], 5e-5)


def assert_gradients(gradients: dict, weights: dict, tiny: dict, parity):
    for name, norm, first in zip(
        tiny["train/parameter_names"],
        tiny["train/gradient_norms_step0"],
        tiny["train/gradient_first_step0"],
        strict=True,
    ):
        if norm < 1e-6:
            continue
        variable, transform = weights[name]
        gradient = to_torch(gradients[variable.path].numpy(), transform)
        parity.within("MaskRIS: gradient norms, relative", torch_norm(gradient), norm, 2e-4, norm, name)
        assert gradient.flat[0] == pytest.approx(first, abs=2e-4 * norm), name


def uneven_batch(tiny: dict) -> tuple[dict, tf.Tensor]:
    """Two samples with masks of different sizes: the weights of their pixels have different means."""
    inputs, target = batch_of_step(tiny, 0)
    return inputs, tf.concat([target[:1], tf.ones_like(target[1:])], axis=0)


@pytest.mark.usefixtures("eagerly")
def test_a_batch_in_parts_is_the_batch(trained, tiny):
    model, _ = trained
    inputs, target = uneven_batch(tiny)
    results = []
    for parts in (1, 2):
        trainer = without_dropout(Trainer(model, settings(model, batch_size=2, accumulate=parts, recipe="caris")))
        compute = trainer.accumulate if parts > 1 else trainer.gradients
        results.append(tf.function(compute)((inputs, target), trainer.recipe.normalizer(target)))
    (whole, loss), (summed, loss_in_parts) = results
    assert float(loss_in_parts) == pytest.approx(float(loss), rel=1e-5)
    for gradient, expected in zip(summed, whole, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * max(0.01, np.abs(expected).max()))


@pytest.mark.usefixtures("eagerly")
def test_dropout_differs_between_steps_and_passes(trained, tiny):
    """Without learning, the same batch has another loss at another step, and the same loss at the same step."""
    model, _ = trained
    trainer = Trainer(model, settings(model, batch_size=2, recipe="caris"))
    data = batch_of_step(tiny, 0)

    @tf.function
    def losses(step):
        trainer.base_optimizer.iterations.assign(step)
        trainer._seed_random_layers(tf.distribute.get_replica_context())
        return [next(trainer.recipe.losses(trainer._forward, *data, 1.0))[0] for _ in range(2)]

    first, other, again = (np.array(losses(step)) for step in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert len({*first, *other}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_follows_float32(precision, trained, tiny, tmp_path):
    model, _ = trained
    save_model(model, tmp_path / "model.keras")
    with computing_in(precision):
        model = load_model(tmp_path / "model.keras")
        trainer = without_dropout(Trainer(model, settings(model, batch_size=2, steps=8, precision=precision)))
    step = tf.function(trainer.train_step)
    before = [variable.numpy() for variable in trainer.trainable_variables]
    result = step(batch_of_step(tiny, 0))
    assert float(result["mask_logits_loss"]) == pytest.approx(tiny["train/trajectory"][0][0], rel=0.03)
    assert float(result["masked_loss"]) == pytest.approx(tiny["train/trajectory"][0][1], rel=0.03)
    assert all(np.isfinite(variable.numpy()).all() for variable in trainer.trainable_variables)
    assert int(trainer.base_optimizer.iterations) == 1
    assert any((old != new.numpy()).any() for old, new in zip(before, trainer.trainable_variables, strict=True))
    assert all(variable.dtype == "float32" for variable in trainer.trainable_variables)


DEVICES_SCRIPT = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from test_maskris_training import Trainer, make_trained, read_golden, settings, uneven_batch, without_dropout
from cmpc_tf2.training.distribution import make_strategy

tiny, results = read_golden("tiny"), []
for name in ("none", "mirrored"):
    strategy = make_strategy(name)
    with strategy.scope():
        model, _ = make_trained()
        trainer = without_dropout(Trainer(model, settings(model, batch_size=2, steps=8)))

    def share(context):
        dataset = tf.data.Dataset.from_tensors(uneven_batch(tiny)).repeat().unbatch()
        return dataset.batch(2 // strategy.num_replicas_in_sync)

    batches = iter(strategy.distribute_datasets_from_function(share))
    losses = [float(strategy.experimental_local_results(trainer.distributed_step(next(batches)))[0]) for _ in range(2)]
    results.append((losses, {v.path: v.numpy() for v in trainer.base_optimizer.variables if "momentum" in v.path}))
(losses, one), (losses_of_two, two) = results
np.testing.assert_allclose(losses_of_two, losses, rtol=1e-5)
for path, value in one.items():
    np.testing.assert_allclose(two[path], value, rtol=0, atol=1e-6, err_msg=path)
assert len(one) == len(model.trainable_variables) and max(np.abs(value).max() for value in one.values()) > 1e-3
"""


@pytest.mark.slow
def test_two_devices_take_the_steps_of_one():
    """The loss is normalised and the gradient clipped over the whole batch: the moments of the gradients are equal."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DEVICES_SCRIPT]
    result = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four stretched train samples of two bright squares, two of a validation split, vocabulary and sizes."""
    root, rng = tmp_path_factory.mktemp("maskris"), np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        folder = split_folder(root, "unc", split)
        folder.mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 60, size=(96, 96, 3), dtype=np.uint8)
            mask = np.zeros((96, 96), bool)
            mask[8 * number : 8 * number + 40, 16:64] = True
            image[mask] = 220
            sample = Sample(np.zeros(20, np.int64), image, mask, "the red square")
            write_batch(batch_path(root, "unc", split, number), sample)
        manifest = {"samples": count, "settings": {"train_size": 96, "resizing": "stretch"}, "sources": []}
        manifest["samples_per_reference"] = [2] * (count // 2)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    words = [f"[unused{number}]" for number in range(TINY.vocabulary_size)]
    words[0], words[1:5] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words[5:8] = "the", "red", "square"
    (root / "vocab.txt").write_text("\n".join(words) + "\n")
    (root / SHORT_VOCABULARY).write_text("\n".join(words[:6]) + "\n")
    (root / "sizes.json").write_text(json.dumps(TINY.to_dict()))
    return root


# In the folder of the samples.
SHORT_VOCABULARY = "short.txt"


def arguments(data: Path, folder: Path, *more) -> list[str]:
    return [
        "train", "--model-name", "maskris", "-d", "unc", "-t", "train", "--batch-root", str(data), "--output-dir",
        str(folder), "--sizes", str(data / "sizes.json"), "--vocabulary", str(data / "vocab.txt"), "-bs", "2", *more,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["original", "caris"])
def test_the_command_trains_and_resumes(recipe, data, tmp_path):
    """Bit for bit, with dropout and masks, and scores of the validation split; an epoch is one batch of two objects."""
    options = ("--recipe", recipe, "--validation-split", "val", "--checkpoint-every", "1")
    assert main(arguments(data, tmp_path / "whole", *options, "--epochs", "2")) == 0
    assert main(arguments(data, tmp_path / "half", *options, "--steps", "1")) == 0
    shutil.copy(tmp_path / "whole" / "config.json", tmp_path / "half")
    assert main(["train", "--output-dir", str(tmp_path / "half"), "--resume"]) == 0
    rows = read_log(tmp_path / "half")
    assert [row["step"] for row in rows] == ["1", "2"] and float(rows[0]["val_overall_iou"]) >= 0
    assert ("masked_loss" in rows[0]) == (recipe == "original")
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["learning_rate"] == 1e-4 and config["steps"] == 2
    whole, resumed = (load_model(tmp_path / name / "last.keras") for name in ("whole", "half"))
    for found, expected in zip(resumed.variables, whole.variables, strict=True):
        if not found.path.endswith("seed_generator_state"):
            np.testing.assert_array_equal(found, expected, err_msg=found.path)


@pytest.mark.parametrize("options", [["--steps", "1"], ["--epochs", "1"]])
def test_a_split_without_recorded_objects_is_refused(options, data, tmp_path, capsys):
    folder = split_folder(tmp_path, "unc", "train")
    shutil.copytree(split_folder(data, "unc", "train"), folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["samples_per_reference"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert main([*arguments(data, tmp_path / "run", *options), "--batch-root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {folder}: the recipe takes one expression of each object per epoch, but no manifest.json there "
        "records the objects; build it again with `python -m cmpc_tf2 build_batches -d unc -t train "
        f"--image-size 96 --resizing stretch --output-root {tmp_path} --overwrite`"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--recipe", "masked"], "--recipe: expected one of original, caris for maskris, received 'masked'"),
        (["--finetune-backbone"], "--finetune-backbone: a MaskRIS model trains its backbone anyway; leave it out"),
        (["--embeddings", "e.npy"], "--embeddings: a MaskRIS model takes none: it has no layer `text_encoder`"),
        (["--vocabulary", SHORT_VOCABULARY], "--vocabulary: 6 words do not fit the "),
    ],
)
def test_options_of_other_models_are_refused(options, words, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(data)
    assert main(arguments(data, tmp_path / "run", *options)) > 0
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
