"""Files of darknet to DarkNet-53 and back."""

import hashlib

import numpy as np
import pytest

import convert_darknet_weights
from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.backbones.darknet53 import DarkNet53
from cmpc_tf2.conversion import darknet_weights
from cmpc_tf2.conversion.darknet_weights import convert, convert_back
from cmpc_tf2.conversion.names.darknet import HEADER, darknet_pairs
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cogrounding_original import TINY, read_manifest, weight_by_rule

PREFIX = "visumodel."
# Of the file that the original reads, made of the golden's weights.
SHA256 = "993371c83b759e5a9fa290a21e60ae818eeefe98f984b6a649033323fb4609de"


@pytest.fixture(scope="module")
def content() -> bytes:
    """A file with the weights of the golden."""
    shapes, parts = read_manifest("image_tiny"), [HEADER]
    for pair in darknet_pairs(TINY.darknet, PREFIX):
        parts.append(weight_by_rule(pair.torch, shapes[pair.torch]).tobytes())
    return b"".join(parts)


@pytest.fixture
def weights_file(content, tmp_path):
    path = tmp_path / "tiny.weights"
    path.write_bytes(content)
    return path


def test_the_order_of_the_file_is_that_of_the_original(content):
    assert len(content) == 402_984
    assert hashlib.sha256(content).hexdigest() == SHA256


def test_there_and_back(weights_file, tmp_path):
    model, back = tmp_path / "m.keras", tmp_path / "back.weights"
    report = convert(str(weights_file), str(model), config=TINY.darknet)
    assert report["model"] == "darknet" and report["config"] == TINY.darknet.to_dict()
    shapes = {entry["darknet"]: tuple(entry["shape"]) for entry in report["converted"]}
    expected = read_manifest("image_tiny")
    assert shapes == {n.removeprefix(PREFIX): shape for n, shape in expected.items() if n.startswith(PREFIX)}
    assert convert_back(str(model), str(back)) == len(shapes) == 366
    assert hashlib.sha256(back.read_bytes()).hexdigest() == SHA256
    first = load_model(model).get_layer("module_list.0").conv.kernel
    expected = weight_by_rule(f"{PREFIX}module_list.0.conv_0.weight", (6, 3, 3, 3)).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(first, expected)


def test_the_full_size_is_that_of_yolov3():
    shapes = read_manifest("image_full")
    names = [pair.torch for pair in darknet_pairs(DarkNet53Config(), PREFIX)]
    assert len(HEADER) + 4 * sum(int(np.prod(shapes[name])) for name in names) == 248_007_048


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda content: content[:-4], "has 402980 bytes, expected the 402984 of YOLOv3: it is cut off or of another"),
        (lambda content: content[:3], "has 3 bytes, expected the 402984 of YOLOv3"),
        (lambda content: content + b"\0", "has 1 bytes more than the 402984 of YOLOv3: it is of another network, such"),
        (lambda content: content[:-4] + b"\xff" * 4, "holds infinities or NaN: it is damaged"),
    ],
)
def test_files_that_do_not_fit(change, message, content, weights_file, tmp_path):
    weights_file.write_bytes(change(content))
    with pytest.raises(InputError) as failure:
        convert(str(weights_file), str(tmp_path / "m.keras"), config=TINY.darknet)
    assert str(failure.value).startswith(f"{weights_file}: {message}") and "\n" not in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.weights"]


def test_the_script(weights_file, content, tmp_path, capsys, monkeypatch):
    """The script is the command `convert`; the reader follows from the content or the name of the file."""
    monkeypatch.setattr(darknet_weights, "DarkNet53Config", lambda: TINY.darknet)
    unnamed = tmp_path / "copy"
    unnamed.write_bytes(content)
    model, back = str(tmp_path / "m.keras"), tmp_path / "back.weights"
    for path in (weights_file, unnamed):
        assert convert_darknet_weights.main(["--weights", str(path), "--output", model]) == 0
        assert "darknet, 366 variables converted, 0 ignored" in capsys.readouterr().out
    assert convert_darknet_weights.main(["--to-darknet", "--model", model, "--output", str(back)]) == 0
    assert back.read_bytes() == content
    names = sorted(path.name for path in tmp_path.iterdir())
    for arguments, message in (
        (["--weights", str(tmp_path / "absent.weights"), "--output", model], "absent.weights: no such file"),
        (["--weights", str(back), "--output", model, "--vocabulary", str(unnamed)], "backbone has no vocabulary"),
        (
            ["--weights", str(back), "--output", model, "--optimizer", str(tmp_path / "o.npz")],
            "no state of an optimizer",
        ),
        (["--to-darknet", "--model", str(back), "--output", str(unnamed)], "expected a .keras file"),
    ):
        assert convert_darknet_weights.main(arguments) == 1
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_inference_form_has_too_few_weights(tmp_path):
    DarkNet53(TINY.darknet, folded=True).save(tmp_path / "folded.keras")
    with pytest.raises(InputError, match="has folded batch norms; give the backbone it was made of"):
        convert_back(str(tmp_path / "folded.keras"), str(tmp_path / "x.weights"))
    assert not (tmp_path / "x.weights").exists()
