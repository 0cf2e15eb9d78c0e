"""Checkpoints of CAC: names, sizes, and weights in both directions."""

import dataclasses
import json

import numpy as np
import pytest

from cac_original import shared_model, tiny_config
from cmpc_tf2.cli import main
from cmpc_tf2.conversion.core import require_match
from cmpc_tf2.conversion.names import mask_rcnn
from cmpc_tf2.conversion.names.cac import FAMILY, cac_pairs, infer_config
from cmpc_tf2.conversion.torch_layout import torch_shape, torch_weights
from cmpc_tf2.conversion.torch_writer import write_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.models.cac.config import CACConfig, CaptionerConfig
from twostage_original import TINY_DETECTOR, read_manifest, state_by_rule

STORED = ("baseline", "response", "cycle_response")


def detector_sizes(config: CACConfig) -> dict:
    """The sizes of the detector that shapes tell."""
    sizes = config.detector.to_dict()
    return {name: sizes[name] for name in sizes if name not in mask_rcnn.FAMILY.assumed}


@pytest.mark.parametrize("variant", STORED)
def test_sizes_from_shapes(variant):
    found, expected = infer_config(read_manifest(f"cac_{variant}_tiny")), tiny_config(variant)
    assert detector_sizes(found) == detector_sizes(expected)
    assert dataclasses.replace(found, detector=TINY_DETECTOR) == expected


def test_spatial_and_response_have_the_same_parameters():
    """Checkpoints of either are taken for `response`."""
    spatial, response = (cac_pairs(tiny_config(variant)) for variant in ("spatial", "response"))
    assert spatial == response


def test_sizes_of_a_full_checkpoint():
    assert infer_config(read_manifest("cac_full")) == CACConfig(captioner=CaptionerConfig())


def test_what_shapes_do_not_tell():
    assert {"variant", "max_words", "detector.shorter_side", "detector.proposals"} <= set(FAMILY.assumed)
    for name in FAMILY.assumed:
        value = CACConfig().to_dict()
        for part in name.split("."):
            value = value[part]


@pytest.mark.parametrize("variant", STORED)
def test_every_tensor_of_the_original_is_written(variant):
    """The original reads a file by name; none is too many, and none is missing."""
    config = tiny_config(variant)
    pairs = cac_pairs(config)
    names = {*FAMILY.unused_variables(config), *(pair.torch for pair in pairs)}
    assert names == set(read_manifest(f"cac_{variant}_tiny"))
    assert len({pair.keras for pair in pairs}) == len(pairs)
    unused = FAMILY.unused_variables(config)
    assert {name: value.shape for name, value in unused.items()} == {
        name: read_manifest(f"cac_{variant}_tiny")[name] for name in ("resnet.fc.weight", "resnet.fc.bias")
    }


@pytest.mark.parametrize("variant", ["baseline", "cycle_response"])
def test_weights_go_back_unchanged(variant):
    model = shared_model(variant)
    found = torch_weights(cac_pairs(model.config), {variable.path: variable for variable in model.weights})
    state = state_by_rule(f"cac_{variant}_tiny")
    assert set(state) - set(found) == {"resnet.fc.weight", "resnet.fc.bias"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)


def test_checkpoints_are_told_apart():
    for variant in STORED:
        names = set(read_manifest(f"cac_{variant}_tiny"))
        assert FAMILY.fits(names) and not mask_rcnn.FAMILY.fits(names)
    detector = set(read_manifest("maskrcnn_tiny"))
    assert mask_rcnn.FAMILY.fits(detector) and not FAMILY.fits(detector)


def test_strict_match():
    """A name too many, one too few, or another shape: nothing is converted."""
    model = shared_model("cycle_response")
    variables = {variable.path: variable for variable in model.weights}
    expected = {pair.torch: torch_shape(variables[pair.keras].shape, pair) for pair in cac_pairs(model.config)}
    shapes = read_manifest("cac_cycle_response_tiny")
    reasons = require_match("f.pth", shapes, expected, FAMILY.ignored)
    assert set(reasons) == {"resnet.fc.weight", "resnet.fc.bias"}
    changes = (
        ({"caption_model.fc_embed.0.weight": (18, 512)}, r"unexpected: caption_model\.fc_embed"),
        ({"dynamic_fc_7.weight": (128, 28)}, r"unexpected: dynamic_fc_7"),
        ({"response_fc.weight": (6, 28)}, r"wrong shape: response_fc\.weight"),
    )
    for change, message in changes:
        with pytest.raises(InputError, match=message):
            require_match("f.pth", {**shapes, **change}, expected, FAMILY.ignored)
    del shapes["dynamic_fc_3.bias"]
    with pytest.raises(InputError, match=r"missing: dynamic_fc_3\.bias"):
        require_match("f.pth", shapes, expected, FAMILY.ignored)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file of the original's, in the form that it writes."""
    path = tmp_path_factory.mktemp("cac") / "cac.pth"
    write_torch_file(path, state_by_rule("cac_response_tiny"))
    return path


def test_sizes_that_a_checkpoint_does_not_tell(checkpoint, tmp_path):
    """The variant, and others within the sizes of the detector; the report says what is still assumed."""
    (tmp_path / "sizes.json").write_text(
        '{"variant": "spatial", "detector": {"shorter_side": 128, "longer_side": 200}}'
    )
    options = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "cac.keras"), "--json"]
    assert main(["convert", *options, "--report", str(tmp_path / "usual.json")]) == 0
    sizes = ["--sizes", str(tmp_path / "sizes.json"), "--report", str(tmp_path / "stated.json")]
    usual = load_model(tmp_path / "cac.keras")
    assert main(["convert", *options, *sizes]) == 0
    stated = load_model(tmp_path / "cac.keras")
    assert (usual.config.variant, stated.config.variant) == ("response", "spatial")
    assert (stated.config.detector.shorter_side, stated.config.detector.longer_side) == (128, 200)
    for found, expected in zip(stated.weights, usual.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    reports = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("usual", "stated")]
    removed = ["variant", "detector.shorter_side", "detector.longer_side"]
    assert reports[1]["assumed"] == [name for name in reports[0]["assumed"] if name not in removed]
    assert reports[1]["config"] == stated.config.to_dict()


@pytest.mark.parametrize(
    "content, words",
    [
        (
            '{"vocabulary_size": 50}',
            "vocabulary_size: expected sizes that the checkpoint does not tell: variant, ",
        ),
        ('{"detector": {"classes": 81}}', "detector.classes: expected sizes that the checkpoint does not tell"),
        ('{"variant": "cycle"}', "variant: expected one of baseline, spatial, response; received 'cycle'"),
        ('["spatial"]', "expected an object of sizes by name (variant, max_words"),
        ("spatial", "sizes.json: "),
    ],
)
def test_sizes_that_cannot_be(content, words, checkpoint, tmp_path, capsys):
    (tmp_path / "sizes.json").write_text(content)
    options = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "cac.keras")]
    assert main(["convert", *options, "--sizes", str(tmp_path / "sizes.json")]) == 1
    error = capsys.readouterr().err
    assert words in error and "sizes.json: " in error and "Traceback" not in error
    assert not (tmp_path / "cac.keras").exists()


def test_sizes_survive_a_file():
    config = tiny_config("cycle_response")
    assert CACConfig(**json.loads(json.dumps(config.to_dict()))) == config and config.detector == TINY_DETECTOR
