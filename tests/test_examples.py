"""The examples of the README and the documentation: commands parse, and all examples run on small files.

An example that does not run is listed in `NOT_RUN` with the reason.
"""

import argparse
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from a2d_layout import make_a2d
from cmpc_tf2 import cli
from cmpc_tf2.backbones.config import I3DConfig, ResNetC4Config
from cmpc_tf2.backbones.i3d import InceptionI3D
from cmpc_tf2.backbones.swin import SwinTransformer
from cmpc_tf2.conversion.names.backbone import backbone_pairs
from cmpc_tf2.conversion.names.bert import bert_pairs
from cmpc_tf2.conversion.names.i3d import i3d_pairs
from cmpc_tf2.conversion.names.swin import swin_file_pairs
from cmpc_tf2.conversion.pytorch import convert_back as convert_to_torch
from cmpc_tf2.conversion.tf1 import convert_back as convert_to_tf1
from cmpc_tf2.conversion.torch_reader import read_torch_file
from cmpc_tf2.data.shapes import write_shapes
from cmpc_tf2.fields import from_dict
from cmpc_tf2.model_files import save_model
from cmpc_tf2.models.cmpc.model import CMPC
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.models.mattnet.model import MAttNet
from cmpc_tf2.text.bert_encoder import BertEncoder
from cmpc_video_tf2 import cli as video_cli
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from cogrounding_tf2 import cli as grounding_cli
from cogrounding_tf2.models.cg_sl_att import CGSLAtt
from cogrounding_tf2.models.sl_att import SLAtt
from conftest import ROOT
from examples import (
    PAGES,
    Shell,
    blocks_of,
    commands_in_text,
    is_ours,
    keys_of,
    parse,
    run_block,
)
from made_reports import made_report, make_records
from original import write_checkpoint
from phrasecut_files import task, write_phrasecut
from refer_layout import make_refer
from reuse import loading_once, remember
from small import CHEAP, PIECES, SMALL, SMALL_ANCESTOR, SMALL_SIZES, WORDS
from small_maskris import BERT, SWIN
from small_maskris import SMALL as SMALL_CARIS
from torch_files import safetensors_file, save
from torch_states import adamw_state, random_state
from videos import write_video

I3D = I3DConfig(width=8)
# Beginnings of the commands that no test runs here, and why.
NOT_RUN = {
    "python3 -m venv": "makes an environment",
    "pip install": "installs packages",
    "CYTHON_FORCE_REGEN=1 pip install": "installs packages",
    ". .venv/bin/activate": "changes the user's shell",
    "python -m build": "downloads; tests/test_packaging.py builds",
    "register-python-argcomplete": "a program of argcomplete",
    "echo 'source": "changes the user's files",
    "docker build": "needs Docker",
    "make ": "makes an environment and takes minutes",
    "python tools/fetch_assets.py": "downloads files; tests/tools/test_fetch_assets.py runs it on a local server",
    "python tools/screenshots.py": "needs a browser and a model that was trained for long",
    "python -m cmpc_tf2 demo": "takes minutes; tests/commands/test_demo.py runs it",
    "python -m cmpc_video_tf2 demo": "takes minutes; tests/video/test_demo.py runs it",
    "python -m cogrounding_tf2 demo": "takes minutes; tests/cogrounding/test_demo.py runs it",
    "python -m cogrounding_tf2 train": "starts from a full-size backbone; tests/cogrounding/test_commands.py trains",
    "python -m cmpc_tf2 train --model-name mattnet": "takes pictures of COCO; tests/training/test_two_stage.py trains",
    "python -m cmpc_tf2 train --model-name cac": "takes pictures of COCO; tests/training/test_cac.py trains",
    "python tools/convert_darknet_weights.py": "needs yolov3.weights; tests/conversion/test_darknet_weights.py runs it",
    "python benchmarks/": "takes minutes to hours",
    "saved_model_cli show": "a program of TensorFlow",
    "mkdir -p models/cmpc": "needs TensorFlow Serving, as the page says",
    "docker run": "needs Docker",
    'echo "{\\"inputs\\"': "needs TensorFlow Serving, as the page says",
    "curl -d @-": "needs TensorFlow Serving, as the page says",
}
# These run with the slow tests only.
SLOW = (
    "python -m cogrounding_tf2 export",
    "python -m cmpc_tf2 export",
    "python -m cmpc_video_tf2 export",
    "python -m cmpc_video_tf2 train",
    "python -m cmpc_tf2 train -d unc -t train --output-dir runs/unc_rrn",
    "python -m cmpc_tf2 train -d unc -t train --output-dir runs/unc_350000",
    "python -m cmpc_tf2 train -d unc -t train --batch-root stretched",
    "python tools/convert_tf1_ckpt.py --checkpoint unc_iter_350000",
    "python tools/convert_tf1_ckpt.py --checkpoint rgb_imagenet",
    "python tools/convert_torch_ckpt.py --checkpoint swin",
    "python tools/convert_torch_ckpt.py --checkpoint bert",
    "python tools/convert_torch_ckpt.py --checkpoint model_last",
)
# Pages with a test of their own, and how many commands and blocks of Python it runs; None for as many as there are.
TESTED_ELSEWHERE = {
    "docs/adding_a_model.md": ("tests/test_adding_a_model.py", 0, 3),
    "docs/keras.md": ("tests/test_keras_docs.py", 0, None),
    "docs/own_data.md": ("tests/test_own_data.py", 8, 1),
}
# A command for a model that is not part of the project.
NOT_PARSED = {"python -m cmpc_tf2 train --model-name bag_of_words ..."}
# The answers and reports that pages show, by the file that their commands write.
SHOWN = {"docs/serving.md": "answer.json", "docs/evaluation.md": "cmpc.json"}
# A page that repeats commands of other pages, where they run.
OVERVIEW = "docs/commands.md"
# What a page supposes was done before, by commands of other pages.
BEFORE = {
    "docs/evaluation.md": ["python build_batches.py -d unc -t val"],
    OVERVIEW: [
        "python build_batches.py -d unc -t val",
        "python tools/convert_tf1_ckpt.py --checkpoint deeplab_resnet_init.ckpt --output backbone.keras",
    ],
}

BLOCKS = {page: blocks_of(page) for page in PAGES}
COMMANDS = {page: [command for block in blocks for command in block.commands] for page, blocks in BLOCKS.items()}
EVERY = sorted({command for commands in COMMANDS.values() for command in commands})
OURS = [command for command in EVERY if is_ours(command) and not command.startswith("python -m build")]
IN_TEXT = sorted({command for page in PAGES for command in commands_in_text(page)} - set(OURS) - NOT_PARSED)
MAKE = [command for command in (*OURS, *IN_TEXT) if command.startswith("make ")]


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


def is_runnable(page: str) -> bool:
    return any(block.language == "python" or any(map(is_run, block.commands)) for block in BLOCKS[page])


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_holds(page):
    for block in BLOCKS[page]:
        where = f"{page}, line {block.line}"
        assert block.language in ("", "python", "json", "text", "mermaid"), where
        for command in block.commands:
            assert command in OURS or command.startswith("curl ") or not is_run(command), f"{where}: {command}"


def test_exceptions_are_not_outdated():
    for page, (test, commands, python) in TESTED_ELSEWHERE.items():
        found = sum(block.language == "python" for block in BLOCKS[page])
        assert (ROOT / test).is_file() and len(COMMANDS[page]) == commands and python in (found, None), page
    for start in (*NOT_RUN, *SLOW):
        assert any(command.startswith(start) for command in EVERY), start
    assert {command for page in PAGES for command in commands_in_text(page)} >= NOT_PARSED


@pytest.mark.parametrize("command", [command for command in OURS if command not in MAKE])
def test_a_command_of_a_block_parses(command):
    assert parse(command, whole=True) == 0


@pytest.mark.parametrize("command", [command for command in IN_TEXT if command not in MAKE])
def test_a_command_of_a_sentence_parses(command):
    """Sentences may leave out required options."""
    assert parse(command if command.startswith(("python", "cmpc")) else f"python {command}", whole=False) == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_targets_of_make_exist():
    for command in MAKE:
        result = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_every_command_has_an_example():
    """And every script of `tools`."""
    programs = {" ".join(command.split()[1:2]) for command in OURS}
    assert {f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py")} <= programs
    for module, program in (("cmpc_tf2", cli), ("cmpc_video_tf2", video_cli), ("cogrounding_tf2", grounding_cli)):
        parser = program.build_parser()
        (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for name in commands.choices:
            assert any(command.startswith(f"python -m {module} {name} ") for command in OURS), f"{module} {name}"


def test_sizes_on_the_page_are_those_of_a_model():
    (block,) = [block for block in BLOCKS["docs/training.md"] if block.language == "json"]
    assert from_dict(MaskRISConfig, json.loads(block.text)).swin.width == 32


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_model, is_quick):
    """The files that the pages start from, with small models in place of the published ones."""
    folder = tmp_path_factory.mktemp("examples")
    data = folder / "data"
    write_data(data)
    with loading_once():
        write_models(folder, small_model)
        write_tf1_checkpoints(folder)
        convert_to_torch(str(folder / "caris.keras"), str(folder / "caris_refcoco.pth"))
        convert_to_torch(str(folder / "sl_att.keras"), str(folder / "sl_att.pth.tar"))
    if not is_quick:
        write_files_to_start_from(folder)
    rng = np.random.default_rng(0)
    (folder / "photos" / "kitchen").mkdir(parents=True)
    for name in ("photo.jpg", "photos/1.jpg", "photos/kitchen/1.jpg", "photos/kitchen/2.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / name)
    (rows,) = [block.text for block in BLOCKS["docs/prediction.md"] if block.language == "json"]
    (folder / "list.jsonl").write_text(rows)
    write_video(folder / "clip.mp4", 20)
    vectors = rng.normal(size=(len(WORDS), SMALL.embedding_dim)).astype("float32").round(3)
    np.save(data / "Gref_emb.npy", vectors)
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in zip(WORDS, vectors, strict=True)]
    (folder / "glove.6B.300d.txt").write_text("".join(lines))
    for name, ious in (("a", [0.2, 0.7]), ("b", [0.4, 0.6])):
        report = made_report(make_records(np.array(ious), np.arange(2)), dataset="a2d_sent_new", split="test")
        (folder / f"{name}.json").write_text(json.dumps(report))
    return folder


def write_data(data: Path):
    """RefCOCO, PhraseCut, A2D-Sentences and `shapes`, with vocabularies."""
    sentences = ["the man", "red circle left of the square"]
    make_refer(data, [{"ref_id": n, "split": ("train", "val")[n % 2], "sentences": sentences} for n in range(4)])
    instances = data / "refer" / "refcoco" / "instances.json"
    annotations = json.loads(instances.read_text())["annotations"]
    more = {"category_id": 1, "bbox": [2, 2, 6, 6]}
    annotations = [{**entry, "image_id": entry["id"] - 100, **more} for entry in annotations]
    instances.write_text(json.dumps({"annotations": annotations}))
    (data / "coco" / "images").mkdir(parents=True)
    (data / "images").rename(data / "coco" / "images" / "train2014")
    make_a2d(data, {"v": 4, "test": 4}, [("v", 0, "the man"), ("test", 0, "the man"), ("test", 1, "red")], (1,))
    write_shapes(data, images=8)
    write_phrasecut(data / "phrasecut", [task(1), task(2, attributes=["red"])], "val")
    (data / "vocabulary_Gref.txt").write_text("\n".join(WORDS) + "\n")
    pieces = [*PIECES, *(f"word{n}" for n in range(len(PIECES), BERT.vocabulary_size))]
    (data / "bert-base-uncased-vocab.txt").write_text("\n".join(pieces) + "\n")


def write_models(folder: Path, model: CMPC):
    """Model files, and the sizes of new models."""
    video_sizes = SMALL_SIZES[CMPCVideoConfig]
    on_i3d = dataclasses.replace(video_sizes, backbone_type="i3d", backbone=I3D)
    sizes = {"cmpc": CHEAP, "rrn": SMALL_ANCESTOR, "maskris": SMALL_CARIS, "cmpc_video": video_sizes, "i3d": on_i3d}
    (folder / "sizes").mkdir()
    for name, config in sizes.items():
        (folder / "sizes" / f"{name}.json").write_text(json.dumps(config.to_dict()))
    pieces = (folder / "data" / "bert-base-uncased-vocab.txt").read_text().split()
    save_loaded(model, folder / "cmpc_unc.keras")
    save_loaded(MaskRIS(SMALL_CARIS, vocabulary=pieces, name="maskris"), folder / "caris.keras")
    save_loaded(CMPCVideo(video_sizes, vocabulary=WORDS, name="cmpc_video"), folder / "cmpc_a2d.keras")
    boxes = {"vocabulary_size": len(WORDS), "feature_dim": 8, "darknet": {"widths": (2, 4, 4, 6, 6, 8)}}
    for model_type, name in ((SLAtt, "sl_att"), (CGSLAtt, "cg_sl_att")):
        save_loaded(model_type(boxes, vocabulary=WORDS, name=name), folder / f"{name}.keras")
    write_two_stage_files(folder)
    (folder / "demo_output" / "run").mkdir(parents=True)
    shutil.copy(folder / "cmpc_unc.keras", folder / "demo_output" / "run" / "last.keras")


def save_loaded(model, path: Path):
    """Saves a model that `loading_once` then need not load."""
    save_model(model, path)
    remember(model, path)


def write_two_stage_files(folder: Path):
    """Checkpoints of MAttNet and of its detector, and the vocabulary."""
    detector = {"backbone": {"width": 2, "depths": [1, 1, 1, 1]}, "rpn_dim": 4, "mask_dim": 4}
    sizes = {"vocabulary_size": len(WORDS), "embedding_dim": 4, "word_dim": 4, "lstm_units": 4, "joint_dim": 4}
    backbone = ResNetC4Config(**detector["backbone"])
    widths = {"pool5_dim": backbone.channels("c4"), "fc7_dim": backbone.channels("c5")}
    model = MAttNet({**sizes, **widths, "detector": detector}, vocabulary=WORDS, name="mattnet")
    for part, name in ((model, "mrcn_cmr_with_st"), (model.detector, "res101_mask_rcnn_iter_1250000")):
        save_model(part, folder / "part.keras")
        convert_to_torch(str(folder / "part.keras"), str(folder / f"{name}.pth"))
    (folder / "part.keras").unlink()
    numbers = {"<UNK>" if word == "<unk>" else word: number for number, word in enumerate(WORDS) if number}
    (folder / "mrcn_cmr_with_st.json").write_text(json.dumps({"word_to_ix": numbers}))


def write_tf1_checkpoints(folder: Path):
    """Checkpoints of CMPC, one of them with the state of Adam, of its backbone and of CMPC-V."""
    (folder / "ckpts" / "unc" / "cmpc_model").mkdir(parents=True)
    prefix = str(folder / "ckpts" / "unc" / "cmpc_model" / "unc_iter_700000.tfmodel")
    convert_to_tf1(str(folder / "cmpc_unc.keras"), prefix)
    convert_to_tf1(str(folder / "cmpc_a2d.keras"), str(folder / "a2d_sent_new_iter_380000.tfmodel"))
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    backbone = {pair.tf1: values[pair.tf1] for pair in backbone_pairs(SMALL.backbone)}
    write_checkpoint(folder / "deeplab_resnet_init.ckpt", backbone)
    trained = {name: 0 * value for name, value in values.items() if name.startswith("text_objseg/")}
    state = {f"{name}/{slot}": zeros for name, zeros in trained.items() for slot in ("Adam", "Adam_1")}
    state |= {"Variable_1": 350_000, "beta1_power": 0, "beta2_power": 0}
    state = {f"text_objseg/{name}": np.float32(value) for name, value in state.items()}
    write_checkpoint(folder / "unc_iter_350000.tfmodel", {**values, **state})


def write_files_to_start_from(folder: Path):
    """A checkpoint of CARIS with the state of AdamW, and those of the parts that MaskRIS and CMPC-V start from."""
    rng = np.random.default_rng(0)
    shapes = {variable.path: variable.shape for variable in InceptionI3D(I3D).variables}
    (folder / "rgb_imagenet").mkdir()
    kinetics = {pair.tf1: np.ones(shapes[pair.keras], np.float32) for pair in i3d_pairs(I3D)}
    write_checkpoint(folder / "rgb_imagenet" / "model.ckpt", kinetics)
    content = read_torch_file(folder / "caris_refcoco.pth")
    parameters = {name: np.array(value) for name, value in content["model"].items()}
    optimizer, _ = adamw_state(parameters, 8, rng)
    (folder / "model_last.pth").write_bytes(save({**content, "model": parameters, "optimizer": optimizer}))
    shapes = {variable.path: variable.shape for variable in SwinTransformer(SWIN, image_size=32).variables}
    swin = random_state(swin_file_pairs(SWIN), shapes, rng)
    (folder / "swin_base_patch4_window7_224_22k.pth").write_bytes(save({"model": swin}))
    shapes = {variable.path: variable.shape for variable in BertEncoder(BERT).variables}
    bert = {name: ("F32", value) for name, value in random_state(bert_pairs(BERT), shapes, rng).items()}
    (folder / "bert-base-uncased").mkdir()
    (folder / "bert-base-uncased" / "model.safetensors").write_bytes(safetensors_file(bert))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in TESTED_ELSEWHERE and is_runnable(page)])
def test_the_examples_run(page, files, is_quick, tmp_path, monkeypatch):
    """In the order of the page, in one folder."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shell, variables = Shell(), {}
    others = {command for name, commands in COMMANDS.items() if name != OVERVIEW for command in commands}
    for command in BEFORE.get(page, []):
        shell.run(command)
    for block in BLOCKS[page]:
        if block.language == "python":
            with mock.patch("httpx.post", shell.post):
                run_block(block, variables)
        for command in filter(is_run, block.commands):
            is_copy = page == OVERVIEW and command in others
            if is_copy or (is_quick and command.startswith(SLOW)):
                continue
            if " -c " in command:
                pytest.importorskip("pydensecrf")
            shell.run(command)
    if page in SHOWN:
        (shown,) = [block.text for block in BLOCKS[page] if block.language == "text"]
        assert keys_of(shown) <= keys_of((tmp_path / SHOWN[page]).read_text())
