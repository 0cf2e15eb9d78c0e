"""Models and checkpoints shared by the tests: each is built once."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # Several processes share the cores.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import numpy as np
import pytest

from original import GOLDEN, checkpoint_values, convert_by_command, weight_by_rule, write_checkpoint
from small import CHEAP, PIECES, SMALL, SMALL_MASKRIS, WORDS

pytest_plugins = ("quick",)

ROOT = Path(__file__).resolve().parents[1]
# Real images, sentences, annotations and checkpoints, not part of this repository: their tests skip where it is absent.
REAL_DATA = Path(os.environ.get("CMPC_TEST_DATA", ROOT.parent / "shared"))

# Timeout in seconds: even slow machines need less.
PATIENCE = 600


class Parity:
    """Compares results with the original's and records the differences for `benchmarks/parity.py`."""

    def __init__(self, record_property):
        self._record_property = record_property

    def within(self, what: str, found, expected, tolerance: float, scale: float = 1.0, name: str = ""):
        """Asserts that no value is further off than `tolerance` times `scale`."""
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, (what, name)
        error = float(np.abs(found - expected).max() / scale)
        self._record_property("parity", [what, f"{tolerance:g}", error])
        assert error <= tolerance, f"{what}: {name} off by {error}"

    def counted(self, what: str, required: str, count: int):
        """Records how many items passed a test without a tolerance."""
        self._record_property("parity", [what, required, count])


@pytest.fixture
def parity(record_property) -> Parity:
    return Parity(record_property)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not (REAL_DATA / "data").is_dir():
        pytest.skip("the real sample data is not here (CMPC_TEST_DATA)")
    return REAL_DATA / "data"


@pytest.fixture(scope="session")
def tiny_golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "image_tiny.npz"))


@pytest.fixture(scope="session")
def full_golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "image_full.npz"))


@pytest.fixture(scope="session")
def tiny_values() -> dict[str, np.ndarray]:
    """Variables of the training checkpoint behind `image_tiny.npz`."""
    return checkpoint_values("image_tiny_train")


@pytest.fixture(scope="session")
def tiny_prefix(tiny_values, tmp_path_factory) -> str:
    prefix = str(tmp_path_factory.mktemp("tiny") / "unc_iter_8.tfmodel")
    write_checkpoint(prefix, tiny_values)
    return prefix


@pytest.fixture(scope="session")
def tiny_conversion(tiny_prefix, tmp_path_factory) -> tuple[Path, dict, str]:
    """The model file made of it, the report, and what the command printed."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    return path, *convert_by_command(tiny_prefix, path)


@pytest.fixture(scope="session")
def tiny_model(tiny_conversion):
    from cmpc_tf2.model_files import load_model

    return load_model(tiny_conversion[0])


@pytest.fixture(scope="session")
def video_golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "video_tiny.npz"))


@pytest.fixture(scope="session")
def video_values() -> dict[str, np.ndarray]:
    """Variables of the training checkpoint behind `video_tiny.npz`."""
    return checkpoint_values("video_tiny_train")


@pytest.fixture(scope="session")
def video_prefix(video_values, tmp_path_factory) -> str:
    prefix = str(tmp_path_factory.mktemp("video") / "a2d_iter_6.tfmodel")
    write_checkpoint(prefix, video_values)
    return prefix


@pytest.fixture(scope="session")
def full_prefix(tmp_path_factory, free_memory) -> str:
    """A full-size training checkpoint: 118.7 M weights with their Adam slots, 1.08 GB."""
    prefix = str(tmp_path_factory.mktemp("full") / "unc_iter_700000.tfmodel")
    write_checkpoint(prefix, checkpoint_values("image_full_train"))
    free_memory()
    return prefix


@pytest.fixture(scope="session")
def full_model_file(full_prefix, tmp_path_factory, free_memory) -> Path:
    from cmpc_tf2.conversion.tf1 import convert

    path = tmp_path_factory.mktemp("full") / "full.keras"
    convert(full_prefix, str(path))
    free_memory()
    return path


def _make_cmpc(config):
    import keras

    from cmpc_tf2.models.cmpc.model import CMPC
    from reuse import unchanged

    keras.utils.set_random_seed(1)
    return unchanged(CMPC(config, vocabulary=WORDS, name="cmpc"))


@pytest.fixture(scope="session")
def small_model():
    """A small model with random weights and a vocabulary."""
    return _make_cmpc(SMALL)


@pytest.fixture(scope="session")
def small_model_file(small_model, tmp_path_factory) -> Path:
    from cmpc_tf2.model_files import save_model

    path = tmp_path_factory.mktemp("small") / "small.keras"
    save_model(small_model, path)
    return path


@pytest.fixture(scope="session")
def cheap_model(small_model, is_quick):
    """The small model; without the parts that take most of the time unless the slow tests run too."""
    return _make_cmpc(CHEAP) if is_quick else small_model


@pytest.fixture(scope="session")
def cheap_model_file(cheap_model, tmp_path_factory) -> Path:
    from cmpc_tf2.model_files import save_model

    path = tmp_path_factory.mktemp("cheap") / "cheap.keras"
    save_model(cheap_model, path)
    return path


@pytest.fixture(scope="session")
def small_maskris():
    """A small MaskRIS with a vocabulary. Its weights follow from their names and are large enough to matter."""
    from cmpc_tf2.models.maskris.model import MaskRIS
    from reuse import unchanged

    model = MaskRIS(SMALL_MASKRIS, vocabulary=PIECES, name="maskris")
    for variable in model.variables:
        variable.assign(weight_by_rule(variable.path, variable.shape))
    return unchanged(model)


@pytest.fixture(scope="session")
def squares(tmp_path_factory, is_quick):
    """Six train and two validation samples of a red or blue square, with vocabulary and sizes of a model to train."""
    import json

    from cmpc_tf2.data.batches import Sample, batch_path, write_batch
    from cmpc_tf2.text.vocabulary import Vocabulary

    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        batch_path(root, "unc", split, 0).parent.mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 60, size=(32, 32, 3), dtype=np.uint8)
            mask = np.zeros((32, 32), bool)
            x, y = rng.integers(0, 16, size=2)
            mask[y : y + 16, x : x + 16] = True
            color = ("red", "blue")[number % 2]
            image[mask] = (220, 30, 30) if color == "red" else (30, 30, 220)
            expression = f"the {color} square"
            sample = Sample(Vocabulary(WORDS).encode(expression), image, mask, expression)
            write_batch(batch_path(root, "unc", split, number), sample)
    (root / "words.txt").write_text("\n".join(WORDS) + "\n")
    (root / "sizes.json").write_text(json.dumps((CHEAP if is_quick else SMALL).to_dict()))
    return root


@pytest.fixture
def train_options(squares) -> list[str]:
    """Options of the command `train` for a small model on `squares`."""
    return [
        "-d", "unc", "-t", "train", "--batch-root", str(squares), "--vocabulary", str(squares / "words.txt"),
        "--sizes", str(squares / "sizes.json"), "-bs", "2",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def small_values(small_model) -> dict[str, np.ndarray]:
    """The TensorFlow 1 variables of a small evaluation checkpoint, with random values."""
    from cmpc_tf2.conversion.names.cmpc import cmpc_pairs
    from cmpc_tf2.conversion.tf1 import tf1_shape

    rng = np.random.default_rng(2)
    shapes = {v.path: v.shape for v in small_model.variables}
    pairs = cmpc_pairs(small_model.config)
    return {pair.tf1: rng.normal(size=tf1_shape(pair, shapes[pair.keras])).astype("float32") for pair in pairs}


@pytest.fixture
def write(tmp_path):
    """Writes a TensorFlow 1 checkpoint; returns its prefix."""

    def write(values: dict[str, np.ndarray]) -> str:
        write_checkpoint(tmp_path / "ckpt", values)
        return str(tmp_path / "ckpt")

    return write


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
