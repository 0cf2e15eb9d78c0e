"""Models and checkpoints shared by the tests: each is built once."""

import contextlib
import ctypes
import functools
import gc
import os
import random
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # Several processes share the cores.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import numpy as np
import pytest

from original import GOLDEN, checkpoint_values, convert_by_command, weight_by_rule, write_checkpoint
from small import CHEAP, PIECES, SMALL, SMALL_MASKRIS, WORDS

ROOT = Path(__file__).resolve().parents[1]
# Real images, sentences, annotations and checkpoints, not part of this repository: their tests skip where it is absent.
REAL_DATA = Path(os.environ.get("CMPC_TEST_DATA", ROOT.parent / "shared"))

# Timeout in seconds: even slow machines need less.
PATIENCE = 600

# New objects after which garbage is collected between two tests.
MANY_OBJECTS = 60_000


# Modules that share models of the goldens and of full size: one process runs them all.
OF_CMPC = (
    "tests/models/test_cmpc.py",
    "tests/conversion/test_tf1.py",
    "tests/training/test_original_steps.py",
    "tests/tasks/test_explanation.py",
)
# Of the others, those that take longest.
LONG = (
    "tests/models/test_ancestors.py",
    "tests/models/test_contract.py",
    "tests/cogrounding/test_commands.py",
    "tests/test_examples.py",
    "tests/training/test_two_stage.py",
    "tests/test_keras_api.py",
    "tests/video/test_cmpc_video.py",
    "tests/cogrounding/test_training.py",
    "tests/commands/test_evaluate.py",
    "tests/inference/test_two_stage.py",
    "tests/models/test_cac.py",
    "tests/exporting/test_graph_files.py",
    "tests/video/test_commands.py",
    "tests/models/test_maskris.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Distributes whole modules, in the order of the collection, and those of `OF_CMPC` as one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return OF_CMPC[0] if module in OF_CMPC else module

    config.option.loadscopereorder = False
    return ByModule(config, log)


def pytest_collection_modifyitems(items):
    """The longest modules come first: at the end, no process waits long for the others."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        order = {module: number for number, module in enumerate((*OF_CMPC, *LONG))}
        items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


def pytest_collection_finish():
    """Leaves what imports made out of every collection of garbage."""
    gc.disable()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Collects garbage between tests only, in the main thread.

    A model is a cycle of objects, and the full collections that free it are rare. Others start in any thread, also in
    one of `tf.data`. After a test of broken batches there was none at all until the process ended.
    """
    result = yield
    if nextitem is None or nextitem.path != item.path:
        _free_memory()
        gc.freeze()  # What outlives a module, like shared models, lasts: later collections pass it over.
    elif gc.get_count()[0] > MANY_OBJECTS:
        gc.collect(1)
    return result


def _free_memory():
    """Collects garbage and, where the C library is glibc, returns its memory to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session", autouse=True)
def attributes_listed_once():
    """Lets Keras list the attributes of a plain layer once rather than for every layer that it saves or loads.

    It means to, but looks the list up by another name than it keeps it by.
    """
    if "keras" in sys.modules:
        saving_lib = sys.modules["keras"].src.saving.saving_lib
        saving_lib.get_attr_skipset = functools.cache(saving_lib.get_attr_skipset)


@pytest.fixture(scope="session")
def is_quick(pytestconfig) -> bool:
    """Whether the slow tests are deselected. Tracing and optimizing small models takes longer than running them."""
    return pytestconfig.option.markexpr == "not slow"


@pytest.fixture(scope="session", autouse=True)
def graphs_as_traced(is_quick):
    """Leaves graphs unoptimized, unless the slow tests run too."""
    if is_quick and "tensorflow" in sys.modules:
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="session", autouse=True)
def kernels_made_once(is_quick):
    """Lets TensorFlow keep its kernels, unless the slow tests run too.

    It drops them all when a test sets the random seed, for operations with a state of random numbers, which Keras and
    this project do not use. And it makes one for every new name of a variable.
    """
    if not is_quick or "tensorflow" not in sys.modules:
        return
    from tensorflow.python.eager.context import Context
    from tensorflow.python.ops import gen_resource_variable_ops as operations

    make_handle = operations.var_handle_op

    def make_nameless_handle(*args, debug_name="", **options):
        return make_handle(*args, **options)

    def set_seed(context, seed):
        context._seed, context._rng = seed, random.Random(seed)

    operations.var_handle_op, Context._set_global_seed = make_nameless_handle, set_seed


@pytest.fixture(scope="session", autouse=True)
def models_ready_once(is_quick):
    """Loads equal model files once and traces their graphs once, unless the slow tests run too."""
    if is_quick and "tensorflow" in sys.modules:
        from reuse import making_ready_once

        with making_ready_once():
            yield
    else:
        yield


@pytest.fixture(scope="session")
def eager(is_quick):
    """A context in which `tf.function` runs eagerly, unless the slow tests run too.

    For functions that other tests run as graphs.
    """
    import tensorflow as tf

    @contextlib.contextmanager
    def running():
        tf.config.run_functions_eagerly(is_quick)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Even though the .* does not apply to tf.data functions")
                yield
        finally:
            tf.config.run_functions_eagerly(False)

    return running


@pytest.fixture
def eagerly(eager):
    """Runs the whole test in that context; fixtures of wider scope are made before it."""
    with eager():
        yield


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
def full_prefix(tmp_path_factory) -> str:
    """A full-size training checkpoint: 118.7 M weights with their Adam slots, 1.08 GB."""
    prefix = str(tmp_path_factory.mktemp("full") / "unc_iter_700000.tfmodel")
    write_checkpoint(prefix, checkpoint_values("image_full_train"))
    _free_memory()
    return prefix


@pytest.fixture(scope="session")
def full_model_file(full_prefix, tmp_path_factory) -> Path:
    from cmpc_tf2.conversion.tf1 import convert

    path = tmp_path_factory.mktemp("full") / "full.keras"
    convert(full_prefix, str(path))
    _free_memory()
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
