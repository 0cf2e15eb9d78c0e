"""Rules of the source code that can be checked automatically."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

HEAVY = {"tensorflow", "keras"}
PACKAGES = ("cmpc_tf2", "cmpc_video_tf2", "cogrounding_tf2")
# Importing these must not import TensorFlow: commands answer `--help` with them, and batches are built without it.
LIGHT = (
    "build_batches.py",
    "cmpc_tf2/cli.py",
    "cmpc_tf2/conversion/families.py",
    "cmpc_tf2/conversion/tf1_reader.py",
    "cmpc_tf2/conversion/torch_checkpoint.py",
    "cmpc_tf2/data/image_builder.py",
    "cmpc_tf2/data/object_builder.py",
    "cmpc_tf2/reports/comparison_page.py",
    "cmpc_tf2/tasks/masks/drawing.py",
    "cmpc_tf2/tasks/masks/protocol.py",
    "cmpc_tf2/text/embeddings.py",
    "cmpc_tf2/text/tokenizers.py",
    "cmpc_video_tf2/build_batches.py",
    "cmpc_video_tf2/cli.py",
    "cmpc_video_tf2/data/builder.py",
    "cogrounding_tf2/build_batches.py",
    "cogrounding_tf2/data/augmentation.py",
    "cogrounding_tf2/data/builder.py",
    "cogrounding_tf2/data/truths.py",
    "tools/build_embeddings.py",
    "tools/convert_darknet_weights.py",
    "tools/convert_tf1_ckpt.py",
    "tools/convert_torch_ckpt.py",
    "tools/fetch_assets.py",
)
# Folders of the package, and the modules of the project that each may import in addition to its own.
BASICS = {
    "npz",
    "errors",
    "fields",
    "files",
    "keras_files",
    "precision",
    "processes",
    "registration",
    "systems",
    "tensors",
}
DIRECTIONS = {
    "layers": set(),
    "preprocessing": set(),
    "text": {"layers", "preprocessing"},
    "data": {"preprocessing", "text"},
    "backbones": {"layers"},
    "models": {"backbones", "layers", "preprocessing", "text", "config"},
    "tasks": {"data", "preprocessing", "text"},
    "recipes": {"backbones", "layers", "tasks", "text"},
    "reports": {"data", "tasks"},
}
# Files that may import the conversion: the command, the families, and a reader of annotations that PyTorch wrote.
CONVERSION_USERS = {"convert.py", "conversion.py", "original_files.py"}


# Keras has neither non-maximum suppression nor crops of boxes: the models that need them run on TensorFlow only.
TENSORFLOW_ONLY = {"cmpc_tf2/models/mask_rcnn_c4/tensorflow_operations.py"}


def imports(path: Path, nested: bool = True) -> set[str]:
    """Modules that a file imports; without `nested`, only those that importing it loads."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if nested else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources(*folders: str) -> list[Path]:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert files
    return files


@pytest.mark.parametrize("folder", ["models", "layers", "backbones", "text", "preprocessing"])
def test_models_run_on_every_backend_of_keras(folder):
    for path in sources(*(f"{package}/{folder}" for package in PACKAGES if (ROOT / package / folder).is_dir())):
        backends = {module.split(".")[0] for module in imports(path)} & {"tensorflow", "jax", "torch"}
        assert backends <= ({"tensorflow"} if path.relative_to(ROOT).as_posix() in TENSORFLOW_ONLY else set()), path


@pytest.mark.parametrize("folder", DIRECTIONS)
def test_imports_point_one_way(folder):
    allowed = {folder} | DIRECTIONS[folder] | BASICS
    for path in sources(*(f"{package}/{folder}" for package in PACKAGES if (ROOT / package / folder).is_dir())):
        more = {"config", "conversion"} if path.name in CONVERSION_USERS else {"config"}
        for module in imports(path):
            if module.startswith(tuple(f"{package}." for package in PACKAGES)):
                assert module.split(".")[1] in allowed | more, f"{path}: {module}"


def test_every_package_has_a_docstring():
    folders = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_dir()]
    for folder in (folder for folder in folders if any(folder.glob("*.py"))):
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_the_image_system_does_not_import_the_others():
    for path in sources("cmpc_tf2"):
        assert not any(module.startswith(PACKAGES[1:]) for module in imports(path)), path


def test_nothing_imports_the_tools():
    tools = {"tools", *(path.stem for path in sources("tools"))}
    for path in sources(*PACKAGES):
        assert not imports(path) & tools, path


def test_few_files_import_the_conversion():
    for path in sources(*PACKAGES):
        if "conversion" not in path.parts and path.name not in CONVERSION_USERS:
            assert not any(module.startswith("cmpc_tf2.conversion") for module in imports(path)), path


def test_files_and_functions_are_short():
    for path in [ROOT / "build_batches.py", *sources(*PACKAGES, "tools")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_text_files_have_the_same_bytes_on_every_platform():
    """Encoding and line ends differ by default. And Windows does not open a `NamedTemporaryFile` by its name."""
    for path in [ROOT / "build_batches.py", *sources(*PACKAGES, "tools")]:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            is_method = isinstance(call.func, ast.Attribute)
            name = call.func.attr if is_method else getattr(call.func, "id", "")
            strings = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
            opens_text = name == "open" and any(mode in strings for mode in ("w", "a", "x", "w+", "a+"))
            if opens_text or (is_method and name == "write_text"):
                options = {keyword.arg for keyword in call.keywords}
                assert {"encoding", "newline"} <= options, f"{path}, line {call.lineno}"
            assert name != "NamedTemporaryFile", f"{path}, line {call.lineno}"


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_do_not_import_tensorflow(name):
    pending, seen = [ROOT / name], set()
    while pending:
        path = pending.pop()
        seen.add(path)
        for module in imports(path, nested=False):
            assert module.split(".")[0] not in HEAVY, f"{path}: {module}"
            place = ROOT.joinpath(*module.split("."))
            found = (place.with_suffix(".py"), place / "__init__.py")
            pending += [path for path in found if path.is_file() and path not in seen]


HELPFUL = [
    ["build_batches.py"],
    ["tools/convert_darknet_weights.py"],
    ["tools/convert_tf1_ckpt.py"],
    ["tools/convert_torch_ckpt.py"],
    ["tools/build_embeddings.py"],
    ["tools/fetch_assets.py"],
    ["tools/screenshots.py"],
    ["-m", "cmpc_tf2"],
    ["-m", "cmpc_tf2", "build_batches"],
    ["-m", "cmpc_tf2", "evaluate"],
    ["-m", "cmpc_tf2", "compare"],
    ["-m", "cmpc_tf2", "predict"],
    ["-m", "cmpc_tf2", "train"],
    ["-m", "cmpc_tf2", "demo"],
    ["-m", "cmpc_tf2", "export"],
    ["-m", "cmpc_tf2", "convert"],
    ["-m", "cmpc_tf2", "serve"],
    ["-m", "cmpc_video_tf2.build_batches"],
    ["-m", "cmpc_video_tf2"],
    ["-m", "cmpc_video_tf2", "build_batches"],
    ["-m", "cmpc_video_tf2", "evaluate"],
    ["-m", "cmpc_video_tf2", "predict"],
    ["-m", "cmpc_video_tf2", "train"],
    ["-m", "cmpc_video_tf2", "demo"],
    ["-m", "cmpc_video_tf2", "export"],
    ["-m", "cmpc_video_tf2", "serve"],
    ["-m", "cogrounding_tf2.build_batches"],
]
# Runs each with --help, one after the other, and prints what came of it.
HELP_PROBE = """
import contextlib, io, json, runpy, sys
for command in json.loads(sys.argv[1]):
    is_module = command[0] == "-m"
    sys.argv = [*command[is_module:], "--help"]
    output, status = io.StringIO(), None
    with contextlib.redirect_stdout(output):
        try:
            (runpy.run_module if is_module else runpy.run_path)(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, output.getvalue()[:7], "tensorflow" in sys.modules]))
"""


def test_help_loads_no_tensorflow():
    command = [sys.executable, "-c", HELP_PROBE, json.dumps(HELPFUL)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for shown, line in zip(HELPFUL, result.stdout.splitlines(), strict=True):
        assert json.loads(line) == [0, "usage: ", False], shown


def test_tools_run_from_any_folder(tmp_path):
    for path in sources("tools"):
        command = [sys.executable, str(path), "--help"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0 and result.stdout.startswith(f"usage: {path.name}"), result.stderr


def test_packages_agree():
    """The extra `gpu` takes the TensorFlow of the requirements; `make setup` installs every other extra."""
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    requirements = (ROOT / "requirements.txt").read_text().splitlines()
    (tensorflow,) = (line for line in requirements if line.startswith("tensorflow>"))
    assert extras.pop("gpu") == [tensorflow.replace("tensorflow", "tensorflow[and-cuda]")]
    setup = (ROOT / "Makefile").read_text().split("setup: $(VENV)", 1)[1].split("test: setup", 1)[0]
    installed = {word.strip("'") for word in setup.split()}
    assert {package for packages in extras.values() for package in packages} <= installed
    installation = (ROOT / "docs" / "installation.md").read_text()
    assert all(f"[{name}]" in installation for name in ("gpu", *extras))


def test_versions_agree():
    import cmpc_tf2

    assert f"## {cmpc_tf2.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {cmpc_tf2.__version__}" in (ROOT / "CITATION.cff").read_text()
