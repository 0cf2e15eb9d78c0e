"""RRN, RMI and the LSTM baseline against the originals' numbers."""

import dataclasses
import json
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.cli import main as command
from cmpc_tf2.conversion.families import load_families
from cmpc_tf2.conversion.tf1 import convert, convert_back
from cmpc_tf2.data.batches import Sample, batch_path, write_batch
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.models.lstm_baseline.model import LSTMBaseline
from cmpc_tf2.models.rmi.model import RMI
from cmpc_tf2.models.rrn.model import RRN
from cmpc_tf2.precision import computing_in
from cmpc_tf2.recipes.losses import is_decayed
from cmpc_tf2.recipes.optimizers import is_doubled
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.tasks.masks.metrics import intersection_and_union
from cmpc_tf2.tasks.masks.protocol import SCORE_THRESHOLD
from cmpc_tf2.training.checkpoints import OptimizerState
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.trainer import Trainer
from convert_tf1_ckpt import main
from original import GOLDEN, checkpoint_values, convert_by_command, read_manifest, write_checkpoint
from reuse import loading_once
from small import SMALL, SMALL_ANCESTOR, subtract_mean

KINDS = {"rrn": RRN, "rmi": RMI, "lstm": LSTMBaseline}
NAMES = {"rrn": "RRN", "rmi": "RMI", "lstm": "LSTM baseline"}
SAMPLES = range(3)
STEPS = 6
# Variables of all bottlenecks of a stage but the first.
LATER_BOTTLENECKS = re.compile(r"DeepLab/group_\d_[1-9]|(res|bn)\d[b-z]")


class Converted:
    """A golden, a checkpoint, the command's report of its conversion, and the model made from that.

    By weights of the rule RMI and the baseline mark nothing, so the checkpoint has another score bias, which shifts all
    logits alike: to the widest gap between those in the middle. The model has that of the golden.
    """

    def __init__(self, kind: str, folder):
        self.kind, self.name = kind, NAMES[kind]
        self.logits = f"{self.name}: logits of 3 samples, each alone and in one batch"
        self.golden = dict(np.load(GOLDEN / f"{kind}_tiny.npz"))
        logits = np.stack([self.golden[f"{sample}/up"][..., 0] for sample in SAMPLES]).astype("float64")
        middle = np.sort(logits, axis=None)[int(0.4 * logits.size) : int(0.6 * logits.size)]
        widest = np.argmax(np.diff(middle))
        self.shift = -middle[widest : widest + 2].mean()
        self.values = checkpoint_values(f"{kind}_tiny")
        pairs = load_families()[kind].pairs(DeepLabModelConfig())
        (name,) = (pair.tf1 for pair in pairs if pair.keras.endswith("score/bias"))
        bias = self.values[name]
        self.values[name] = bias + np.float32(self.shift)
        self.prefix, self.file = str(folder / "tiny.tfmodel"), folder / "tiny.keras"
        write_checkpoint(self.prefix, self.values)
        self.report, self.output = convert_by_command(self.prefix, self.file)
        self.model = self.load()
        (variable,) = (one for one in self.model.variables if one.path.endswith("score/bias"))
        variable.assign(bias)
        decoder = self.model.expression_decoder
        cells = decoder.get_layer("score").output  # Of which the originals say `pred`.
        self._decoder = keras.Model(decoder.input, {"up": decoder.output["mask_logits"], "pred": cells})

    def logits_of(self, *samples) -> dict[str, np.ndarray]:
        """The logits of the pixels and of the cells, by the names of the golden."""
        inputs = self.inputs(*samples)
        text = {"token_ids": tf.constant(inputs["token_ids"])}
        found = self._decoder({**self.model.image_encoder(inputs["image"]), **text})
        return {name: np.asarray(value) for name, value in found.items()}

    def load(self):
        """A copy of the model of the file, which tests may change."""
        with loading_once():
            model = load_model(self.file, KINDS[self.kind])
        return model.at_size(64)

    def inputs(self, *samples) -> dict:
        return {
            "image": subtract_mean(np.stack([self.golden[f"{k}/image"] for k in samples])),
            "token_ids": np.stack([self.golden[f"{k}/words"] for k in samples]).astype("int32"),
        }


def with_shallow_backbone(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint with one bottleneck in each stage, for what does not depend on their number."""
    return {name: value for name, value in values.items() if not LATER_BOTTLENECKS.match(name)}


@pytest.fixture(scope="module", params=KINDS)
def converted(request, tmp_path_factory):
    return Converted(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def trainer(converted):
    """Trains the converted model, which has its weights back after the test."""
    trainer = Trainer(converted.model, TrainConfig("unc", "train", model_name=converted.kind))
    before = [variable.numpy() for variable in converted.model.variables]
    yield trainer
    for variable, value in zip(converted.model.variables, before, strict=True):
        variable.assign(value)


def test_single_samples_equal_the_originals(converted, parity):
    for sample in SAMPLES:
        for name, found in converted.logits_of(sample).items():
            parity.within(converted.logits, found[0], converted.golden[f"{sample}/{name}"], 1e-5)


def test_a_batch_equals_the_originals(converted, parity):
    for name, found in converted.logits_of(*SAMPLES).items():
        for sample in SAMPLES:
            parity.within(converted.logits, found[sample], converted.golden[f"{sample}/{name}"], 1e-5)


@pytest.mark.usefixtures("eagerly")
def test_the_converted_model_scores_as_the_original(converted, tmp_path):
    """From a checkpoint to the report: intersections and unions are those of the golden's logits."""
    is_size_unknown = "tells the size of its pictures; 320 x 320 is taken" in converted.output
    assert is_size_unknown == (converted.kind != "rrn")

    batch_path(tmp_path, "unc", "val", 0).parent.mkdir(parents=True)
    expected = []
    for sample in SAMPLES:
        image, words, mask = (converted.golden[f"{sample}/{name}"] for name in ("image", "words", "mask"))
        write_batch(batch_path(tmp_path, "unc", "val", sample), Sample(words, image, mask, f"sentence {sample}"))
        logits = converted.golden[f"{sample}/up"][..., 0].astype("float64")
        expected.append(intersection_and_union(logits + converted.shift >= SCORE_THRESHOLD, mask))
    options = ["-d", "unc", "-t", "val", "--batch-root", str(tmp_path), "--image-size", "64"]
    report = tmp_path / "report.json"
    with loading_once():
        assert command(["evaluate", "--model", str(converted.file), *options, "--report", str(report)]) == 0
    records = json.loads(report.read_text())["per_sample"]
    assert [(record["intersection"], record["union"]) for record in records] == expected
    assert any(0 < intersection < union for intersection, union in expected)


def test_six_steps(converted, trainer, parity):
    """Losses, rates and the prediction at the end, through the trainer."""
    expected = converted.golden["train/trajectory"]
    assert list(converted.golden["train/columns"]) == ["loss", "l2", "total", "learning_rate"]
    take_step = tf.function(trainer.train_step, autograph=False)  # As Keras does.
    for step in range(STEPS):
        mask = converted.golden[f"{step % 3}/mask"][None, ..., None]
        inputs = {name: tf.constant(value) for name, value in converted.inputs(step % 3).items()}
        rate, decay = (
            float(trainer.base_optimizer.learning_rate),
            float(trainer.recipe.penalty(trainer.trainable_variables)),
        )
        trainer.reset_metrics()
        total = float(take_step((inputs, tf.constant(mask, tf.float32)))["loss"])
        losses = np.array([total - decay, decay, total]) / expected[step, :3]
        parity.within(f"{converted.name}: losses of six training steps, relative", losses, np.ones(3), 1e-5)
        np.testing.assert_allclose(rate, expected[step, 3], rtol=2e-7)
    trained = converted.logits_of(0)["pred"]
    parity.within(f"{converted.name}: coarse logits after them", trained[0], converted.golden["train/pred_end"], 1e-5)


def test_a_saturated_state_stays_finite_in_bfloat16():
    """In bfloat16 1.001 is 1, so the stretch must compute in float32."""
    with computing_in("bfloat16", weights="bfloat16"):
        model = RMI(SMALL_ANCESTOR)
    lstm = model.expression_decoder.get_layer("multimodal_lstm")
    lstm.bias.assign(np.full(lstm.bias.shape, 20))  # Gates open and input 1: h comes close to 1.
    image, token_ids = np.zeros((1, 32, 32, 3), "float32"), np.full((1, 20), 4, "int32")
    stretched = keras.Model(model.expression_decoder.input, model.expression_decoder.get_layer("stretch").output)
    found = stretched({**model.image_encoder(image), "token_ids": tf.constant(token_ids)})
    np.testing.assert_allclose(found, 0.5 * np.log(2.001 / 0.001), rtol=1e-5)


def test_converting_back_restores_the_checkpoint(converted, tmp_path):
    """The bytes are equal except where a batch norm was folded."""
    prefix = str(tmp_path / "back.tfmodel")
    with loading_once():
        assert main(["--to-tf1", "--model", str(converted.file), "--output", prefix]) == 0
    reader = tf.train.load_checkpoint(prefix)
    names = set(reader.get_variable_to_shape_map())
    weights = {n for n in converted.values if "/Adam" not in n and converted.values[n].shape != ()}
    assert names == weights
    for name in names:
        expected, (scope, last) = converted.values[name], name.rsplit("/", 1)
        if "fc1_voc12" in name:  # DeepLab's classifier, which feeds nothing.
            expected = np.zeros_like(expected)
        elif last == "factor":
            expected = np.ones_like(expected)
        elif f"{scope}/factor" in names and last in ("mean", "variance"):
            expected = expected / converted.values[f"{scope}/factor"]
        np.testing.assert_array_equal(reader.get_tensor(name), expected, err_msg=name, strict=True)


@pytest.mark.slow
def test_a_round_trip_gives_equal_outputs(converted, tmp_path):
    prefix, again = str(tmp_path / "back.tfmodel"), tmp_path / "again.keras"
    convert_back(str(converted.file), prefix)
    convert(prefix, str(again))
    other = load_model(again, KINDS[converted.kind]).at_size(64)
    inputs = converted.inputs(0)
    np.testing.assert_array_equal(other(inputs)["mask_logits"], converted.load()(inputs)["mask_logits"])


def test_every_variable_is_accounted_for(converted):
    report = converted.report
    named = {entry["tf1"] for entry in report["converted"]} | {entry["tf1"] for entry in report["ignored"]}
    assert named == set(converted.values)
    assert report["model"] == converted.kind and report["step"] == 0


def test_which_weights_are_decayed_and_doubled(converted):
    """As the names of the original's variables tell."""
    for pair in load_families()[converted.kind].pairs(converted.model.config):
        last = pair.tf1.rsplit("/", 1)[-1]
        assert is_decayed(pair.keras) == (last in ("DW", "weights")), pair
        assert is_doubled(pair.keras) == (last == "biases"), pair


def test_schedules_are_the_originals():
    """The recorded trajectories are too short to distinguish 800,000 steps from 750,000."""
    assert {kind: SYSTEMS[kind].load_recipe().decay_steps for kind in KINDS} == {
        "rrn": 800_000,
        "rmi": 750_000,
        "lstm": 750_000,
    }


def test_sizes_of_another_model_are_refused():
    with pytest.raises(TypeError, match="an RRN model: expected sizes of type DeepLabModelConfig, received CMPCConfig"):
        RRN(SMALL)


def test_initial_weights(converted):
    """Word vectors uniform within 0.08, kernels Glorot's, biases zero."""
    keras.utils.set_random_seed(0)
    config = converted.model.config
    backbone = dataclasses.replace(config.backbone, width=4, depths=(1, 1, 1, 1))
    model = KINDS[converted.kind](dataclasses.replace(config, backbone=backbone))
    weights = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.expression_decoder.variables}
    vectors = weights.pop("text_encoder/embedding")
    assert 0.079 < np.abs(vectors).max() <= 0.08 and abs(vectors.std() - 0.08 / np.sqrt(3)) < 0.002
    for path, weight in weights.items():
        if path.endswith("bias"):
            assert not weight.any(), path
        elif path.endswith("kernel"):
            limit = np.sqrt(6 / (np.prod(weight.shape[:-2]) * sum(weight.shape[-2:])))
            assert 0.9 * limit < np.abs(weight).max() <= limit, path


def test_the_adam_state_is_converted(converted, tmp_path):
    """From a training checkpoint whose slots are not zero."""
    values = with_shallow_backbone(converted.values)
    values = {name: value + ("/Adam" in name) * np.float32(len(name)) for name, value in values.items()}
    prefix, model, state = (str(tmp_path / name) for name in ("trained", "trained.keras", "adam.npz"))
    write_checkpoint(prefix, values)
    assert main(["--checkpoint", prefix, "--output", model, "--optimizer", state]) == 0
    trainer = Trainer(load_model(model, KINDS[converted.kind]), TrainConfig("unc", "train"))
    OptimizerState.from_file(state).restore(trainer.base_optimizer)
    slot = "text_objseg/text_objseg/embedding/Adam"
    index = next(i for i, v in enumerate(trainer.trainable_variables) if v.path == "text_encoder/embedding")
    for name, slots in ((slot, trainer.base_optimizer._momentums), (f"{slot}_1", trainer.base_optimizer._velocities)):
        assert np.unique(values[name]) == len(name)
        np.testing.assert_array_equal(slots[index], values[name])


def test_unusable_checkpoints_are_reported(converted, tmp_path, capsys):
    prefix, values = str(tmp_path / "bad"), with_shallow_backbone(converted.values)
    command = ["--checkpoint", prefix, "--output", str(tmp_path / "bad.keras")]
    write_checkpoint(prefix, {**values, "ResNet/scale1/weights": np.ones(1, "float32")})
    assert main(command) == 1
    assert "stands on a plain ResNet-101 (`-w resnet`), which is not supported" in capsys.readouterr().err
    factor = "DeepLab/group_1/bn_conv1/factor"
    if factor in values:
        for bad in (0, np.inf):
            write_checkpoint(prefix, {**values, factor: np.full(1, bad, "float32")})
            assert main(command) == 1
            assert f"{factor} is {bad:g}; expected a finite number above 0" in capsys.readouterr().err


def test_the_error_lists_each_convertible_model_once(tmp_path, capsys):
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": {}}')
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
    assert main(["--to-tf1", "--model", str(other), "--output", str(tmp_path / "back")]) == 1
    assert capsys.readouterr().err.count("a DeepLab-ResNet backbone") == 1


def test_the_bare_backbone_is_converted(converted, tmp_path):
    """It equals the backbone of the model. The originals of RMI and the baseline start from such a checkpoint."""
    bare = {name: value for name, value in converted.values.items() if not name.startswith("text_objseg/")}
    if converted.kind == "lstm":  # The same checkpoint as that of RMI.
        shapes = {name: shape for name, shape in read_manifest("rmi_tiny").items() if name in bare}
        assert shapes == {name: value.shape for name, value in bare.items()}
        assert not any("DeepLab" in name for name in read_manifest("rmi_tiny").keys() - bare.keys())
        return
    write_checkpoint(str(tmp_path / "bare"), bare)
    report = convert(str(tmp_path / "bare"), str(tmp_path / "bare.keras"))
    assert report["model"] == ("backbone" if converted.kind == "rrn" else "deeplab")
    found, expected = (
        load_model(tmp_path / "bare.keras", DeepLabResNet),
        converted.model.image_encoder.get_layer("backbone"),
    )
    assert found.config == converted.model.config.backbone
    for ours, theirs in zip(found.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
