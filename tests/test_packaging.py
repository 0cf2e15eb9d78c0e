"""The wheel and the sdist: what they contain, and the work of a user who has the wheel alone."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import cmpc_tf2
from conftest import ROOT

PACKAGES = ("cmpc_tf2", "cmpc_video_tf2", "cogrounding_tf2")
NAME = f"cmpc_tf2-{cmpc_tf2.__version__}"
SIZES = {
    "image_size": 64,
    "embedding_dim": 8,
    "feature_dim": 16,
    "fusion_dim": 16,
    "word_parser_dim": 8,
    "backbone": {"width": 4, "depths": [1, 1, 1, 1]},
}
# TensorFlow 2.21 prints these when it is loaded, before it reads its log level.
UNAVOIDABLE = ("All log messages before absl", "oneDNN custom operations are on", "Could not find cuda drivers")

pytestmark = pytest.mark.slow


def run(*command, cwd) -> subprocess.CompletedProcess:
    """Runs a command as in a user's terminal: without what the tests set."""
    ours = ("PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    result = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def make_environment(folder: Path) -> Path:
    """Makes a virtual environment; returns its Python."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="module")
def sdist_and_wheel(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("build")
    python = make_environment(folder / "environment")
    setuptools = [str(python), "-m", "pip", "install", "--quiet", "setuptools>=77"]
    result = subprocess.run(setuptools, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"setuptools is needed, and pip cannot install it: {result.stderr.strip().splitlines()[-1]}")

    source = folder / "source"
    for name in (*PACKAGES, "data", "docs", "tests", "tools"):
        if name == "data":  # Users put data sets there.
            (source / name).mkdir()
            shutil.copy(ROOT / name / "README.md", source / name)
        else:
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(path, source)
    build = "import setuptools.build_meta as backend, sys; getattr(backend, sys.argv[1])(sys.argv[2])"
    run(python, "-c", build, "build_sdist", folder, cwd=source)
    sdist = folder / f"{NAME}.tar.gz"
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    run(python, "-c", build, "build_wheel", folder, cwd=folder / NAME)
    return sdist, folder / f"{NAME}-py3-none-any.whl"


def sources() -> set[str]:
    """The files that belong to the packages."""
    paths = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if path.suffix != ".pyc"}


def test_contents_of_the_wheel(sdist_and_wheel):
    with zipfile.ZipFile(sdist_and_wheel[1]) as archive:
        names = set(archive.namelist())
        metadata = HeaderParser().parsestr(archive.read(f"{NAME}.dist-info/METADATA").decode())
    information = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - information == sources()
    assert f"{NAME}.dist-info/licenses/LICENSE" in information
    assert {"cmpc_tf2/py.typed", "cmpc_video_tf2/py.typed", "cmpc_tf2/serving/static/index.html"} <= names
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    requirements = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert len(required) == len(requirements)
    assert set(metadata.get_all("Provides-Extra")) == {"gpu", "serve", "onnx", "tflite", "completion", "dev"}


def test_contents_of_the_sdist(sdist_and_wheel):
    with tarfile.open(sdist_and_wheel[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    files = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "requirements.txt"}
    scripts = {"build_batches.py", *(f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py"))}
    assert sources() | pages | files | scripts | {"data/README.md"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "notebooks/", "."))]


def test_the_wheel_needs_no_checkout(sdist_and_wheel, tmp_path):
    """The whole workflow in a virtual environment with the wheel, and the dependencies of this one."""
    python = make_environment(tmp_path / "environment")
    library = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).stdout.strip()
    ours = [folder for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))]
    (Path(library) / "dependencies.pth").write_text("\n".join(ours) + "\n")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", sdist_and_wheel[1], cwd=tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    where = run(python, "-c", "import cmpc_tf2, cmpc_video_tf2 as v; print(cmpc_tf2.__file__, v.__file__)", cwd=work)
    assert where.stdout.count(library) == 2

    def cmpc(*words) -> str:
        result = run(python.with_name("cmpc"), *words, "--quiet", cwd=work)
        noise = [line for line in result.stderr.splitlines() if not any(words in line for words in UNAVOIDABLE)]
        assert not noise, noise
        return result.stdout

    for split in ("train", "val"):
        built = cmpc("build_batches", "-d", "shapes", "-t", split, "--image-size", 64, "--workers", 2)
        assert built.endswith("0 samples skipped\n")
    (work / "sizes.json").write_text(json.dumps(SIZES))
    model = ["--sizes", "sizes.json", "--vocabulary", "data/vocabulary_shapes.txt"]
    cmpc("train", "-d", "shapes", "-t", "train", "--output-dir", "run", *model, "--steps", 2, "-bs", 2)
    score = ("evaluate", "-d", "shapes", "-t", "val", "--json", "--model")
    report = json.loads(cmpc(*score, "run/last.keras"))
    assert report["samples"] == 647

    picture = next((work / "data" / "shapes" / "images").iterdir())
    question = ["--image", picture, "--expression", "the circle", "--output", "overlay.png"]
    assert "of the picture" in cmpc("predict", "--model", "run/last.keras", *question)
    exported = json.loads(cmpc("export", "--model", "run/last.keras", "--output", "exported", "--json"))
    assert "serving_default" in exported["signatures"] and (work / "exported" / "saved_model.pb").is_file()
    cmpc("convert", "--to-tf1", "--model", "run/last.keras", "--output", "shapes.tfmodel")
    conversion = json.loads(cmpc("convert", "--checkpoint", "shapes.tfmodel", "--output", "back.keras", "--json"))
    assert conversion["missing"] == conversion["unexpected"] == []
    assert json.loads(cmpc(*score, "back.keras"))["per_sample"] == report["per_sample"]
    assert "build_batches" in run(python.with_name("cmpc-video"), "--help", cwd=work).stdout
