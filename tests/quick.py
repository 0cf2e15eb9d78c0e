"""Hooks and fixtures that only make the tests quicker: the order of modules, garbage, graphs, kernels and models.

If the slow tests run too (`make test-all`), graphs are traced and optimized as for users.
"""

import contextlib
import ctypes
import functools
import gc
import os
import random
import sys
import warnings
from collections.abc import Callable

import pytest

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


@pytest.fixture(scope="session")
def free_memory() -> Callable[[], None]:
    """The function of that name, for fixtures that are large for a while."""
    return _free_memory


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
