"""Properties of every system, at small sizes."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from cmpc_tf2.fields import from_dict
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import computing_in
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.text.tokenizers import TOKENIZERS, Tokenizer
from conftest import ROOT
from file_layouts import LAYOUTS, layout_of
from original import weight_by_rule
from small import SMALL_SIZES, WORDS

# Two-stage models are no functional models: tests/inference/test_two_stage.py.
NAMES = [name for name, system in SYSTEMS.items() if system.medium and issubclass(system.model_type, ReferringModel)]
# Those that give masks; the others give boxes.
MASK_NAMES = [name for name in NAMES if SYSTEMS[name].medium in ("pictures", "clips")]
# One word, all the words that fit, and two sentences between.
LENGTHS = [1, 20, 7, 3]
# Factors of tolerances, for outputs of unit length or between 0 and 1 by their own range: that amplifies rounding.
AMPLIFICATION = {"location": 15, "visual": 15, "similarity": 5, "box_logits": 5}
PREPROCESSING = {"channels": "rgb", "mean": [1.0, 2.0, 3.0], "deviation": [50.0, 60.0, 70.0]}


def other_tokenizer_of(name: str) -> type[Tokenizer]:
    """The tokenizer of a system under another name, which is the default of no model."""
    return type("OtherTokenizer", (TOKENIZERS[SYSTEMS[name].model_type.tokenizer_name],), {"name": f"other {name}"})


def build(name: str, **options) -> keras.Model:
    """A small model whose weights follow from their names."""
    system = SYSTEMS[name]
    model = system.model_type(SMALL_SIZES[system.config_type], name=name, **options)
    for variable in model.variables:
        variable.assign(weight_by_rule(variable.path, variable.shape))
    return model


def make_inputs(model) -> dict[str, np.ndarray]:
    """Pixel values and sentences of four samples."""
    rng = np.random.default_rng(5)
    pixels = rng.uniform(-120, 120, size=(len(LENGTHS), *model.image_encoder.input.shape[1:]))
    text = model.tokenizer_type.random_inputs(model.config, LENGTHS, rng)
    return {model.input_name: pixels.astype("float32"), **text}


@contextlib.contextmanager
def counting_draws() -> Iterator[list]:
    """Within the block, the list grows with every random weight that an initializer draws."""
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        for kind in ("VarianceScaling", "RandomNormal", "RandomUniform", "TruncatedNormal"):
            initializer = getattr(keras.initializers, kind)
            patch.setattr(initializer, "__call__", counted(calls, initializer))
        yield calls


def counted(calls: list, kind: type):
    """The call of an initializer, which notes each of its calls."""
    call = kind.__call__

    def noted(initializer, shape, *args, **kwargs):
        calls.append(shape)
        return call(initializer, shape, *args, **kwargs)

    return noted


class Subject:
    """A model, inputs of four samples, its outputs, and the shapes of the weights that were drawn to build it."""

    def __init__(self, name: str):
        self.tokenizer_type = TOKENIZERS.setdefault(f"other {name}", other_tokenizer_of(name))
        with counting_draws() as self.drawn:
            self.model = build(name, vocabulary=WORDS, preprocessing=PREPROCESSING, tokenizer=f"other {name}")
        self.inputs = make_inputs(self.model)
        self.outputs = self.run(self.inputs)

    def run(self, inputs: dict, model=None) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in (model or self.model)(inputs).items()}

    def with_changed(self, *names: str, sample: slice, change) -> dict[str, np.ndarray]:
        """The inputs, of which some are changed in some of the samples."""
        inputs = {name: value.copy() for name, value in self.inputs.items()}
        for name in names:
            inputs[name][sample] = change(inputs[name][sample])
        return inputs

    @functools.cached_property
    def inference_encoder(self) -> keras.Model:
        return self.model.inference_encoder()

    @property
    def text(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in self.inputs.items() if name != self.model.input_name}


@pytest.fixture(scope="module", params=NAMES)
def subject(request):
    yield Subject(request.param)
    del TOKENIZERS[f"other {request.param}"]


@pytest.fixture(scope="module")
def model_file(subject, tmp_path_factory):
    path = tmp_path_factory.mktemp("contract") / "model.keras"
    save_model(subject.model, path)
    return path


def logits_of(outputs: dict) -> np.ndarray:
    """The output that the predictions follow from."""
    return outputs["mask_logits" if "mask_logits" in outputs else "box_logits"]


def assert_close(found: dict, expected: dict, samples=slice(None), tolerance: float = 1e-6):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        limit = tolerance * AMPLIFICATION.get(name, 1)
        np.testing.assert_allclose(found[name][samples], value[samples], rtol=0, atol=limit, err_msg=name)


def test_the_configuration_comes_back_from_json(subject):
    config = subject.model.config
    assert from_dict(type(config), json.loads(json.dumps(config.to_dict()))) == config


@pytest.fixture(scope="module")
def loading(model_file) -> tuple[keras.Model, list]:
    """The model of the file, and the shapes of the weights that were drawn to load it."""
    with counting_draws() as drawn:
        return load_model(model_file), drawn


def test_a_saved_model_is_loaded_as_it_was(subject, loading, model_file):
    loaded, _ = loading
    assert type(loaded) is type(subject.model)
    assert loaded.config == subject.model.config
    assert loaded.vocabulary == WORDS
    assert loaded.preprocessing == subject.model.preprocessing
    assert {name: loaded.preprocessing.to_dict()[name] for name in PREPROCESSING} == PREPROCESSING
    assert loaded.tokenizer_type is subject.tokenizer_type
    assert_close(subject.run(subject.inputs, loaded), subject.outputs, tolerance=0)
    assert [path.name for path in model_file.parent.iterdir()] == ["model.keras"]


def test_loading_and_folding_draw_no_random_weights(subject, loading):
    loaded, drawn_to_load = loading
    with counting_draws() as drawn_to_fold:
        loaded.inference_encoder()
    assert subject.drawn and not drawn_to_load and not drawn_to_fold


def test_paths_of_weights_are_unique(subject):
    paths = [variable.path for variable in subject.model.variables]
    assert len(set(paths)) == len(paths)


def test_a_batch_equals_its_samples_alone(subject):
    for sample in range(len(LENGTHS)):
        alone = subject.run({name: value[sample : sample + 1] for name, value in subject.inputs.items()})
        assert_close(alone, {name: value[sample : sample + 1] for name, value in subject.outputs.items()})


def test_samples_do_not_see_each_other(subject):
    """Nothing is pooled or normalized over the batch: a sample has the same output in another batch."""
    inputs = subject.with_changed(subject.model.input_name, sample=slice(1, None), change=lambda pixels: 0.5 * pixels)
    for name, value in subject.text.items():
        inputs[name][1:] = value[[0]]
    found = subject.run(inputs)
    assert_close(found, subject.outputs, slice(0, 1))
    assert np.abs(logits_of(found)[1:] - logits_of(subject.outputs)[1:]).max() > 1e-3


def test_one_encoding_serves_many_sentences(subject):
    """This holds for the encoder for inference, too."""
    pixels = subject.inputs[subject.model.input_name]
    expected = subject.run({**subject.inputs, subject.model.input_name: np.repeat(pixels[:1], len(LENGTHS), axis=0)})
    text = {name: keras.ops.convert_to_tensor(value) for name, value in subject.text.items()}
    for encoder, tolerance in ((subject.model.image_encoder, 1e-6), (subject.inference_encoder, 1e-5)):
        found = subject.run({**encoder(pixels[:1]), **text}, subject.model.expression_decoder)
        assert_close(found, expected, tolerance=tolerance)
    logits = logits_of(expected)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_the_encoder_for_inference_gives_the_same_features(subject):
    pixels = subject.inputs[subject.model.input_name][:2]
    expected, found = (encoder(pixels) for encoder in (subject.model.image_encoder, subject.inference_encoder))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)


def test_an_expression_of_pads_alone_gives_finite_numbers(subject):
    found = subject.run(subject.with_changed(*subject.text, sample=slice(1, 2), change=np.zeros_like))
    assert all(np.isfinite(value).all() for value in found.values())
    assert_close(found, subject.outputs, [0, 2, 3])


def test_files_of_earlier_versions_load(subject, model_file):
    assert layout_of(subject.model, model_file) == LAYOUTS[subject.model.name]


def test_bfloat16_is_close_to_float32(subject, model_file):
    with computing_in("bfloat16", weights="bfloat16"):
        model = load_model(model_file)
    found = subject.run(subject.inputs, model)
    for name, expected in subject.outputs.items():
        assert found[name].dtype == np.float32
        assert 0 < np.abs(found[name] - expected).max() < 0.02 * AMPLIFICATION.get(name, 1), name


def test_at_its_own_size_a_model_stays_as_it_is(subject):
    other = subject.model.at_size(subject.model.config.image_size)
    assert other is not subject.model and other.get_config() == subject.model.get_config()
    for found, expected in zip(other.variables, subject.model.variables, strict=True):
        np.testing.assert_array_equal(found, expected)


JAX_SCRIPT = """
import sys
import numpy as np
from cmpc_tf2.layers.given_weights import giving_weights
from models.test_contract import build, make_inputs

outputs = {}
for name in sys.argv[2:]:
    with giving_weights():  # JAX would compile the initializer of every shape.
        model = build(name)
    found = model.predict_on_batch(make_inputs(model))
    outputs |= {f"{name}/{output}": np.asarray(value) for output, value in found.items()}
np.savez(sys.argv[1], **outputs)
assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize(
    "names", [["cmpc"], pytest.param([name for name in NAMES if name != "cmpc"], marks=pytest.mark.slow)], ids=str
)
def test_jax_gives_the_same(names, tmp_path):
    pytest.importorskip("jax")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # They take longer than the models.
    command = [sys.executable, "-c", JAX_SCRIPT, str(tmp_path / "outputs.npz"), *names]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "outputs.npz") as found:
        for name in names:
            model = build(name)
            for output, expected in model(make_inputs(model)).items():
                limit = 1e-5 * AMPLIFICATION.get(output, 1)
                np.testing.assert_allclose(found[f"{name}/{output}"], expected, rtol=0, atol=limit, err_msg=output)
