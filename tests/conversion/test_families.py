"""Which family a checkpoint belongs to, by the names of its variables."""

from types import SimpleNamespace

import pytest

from cmpc_tf2.conversion.families import find_family, load_families
from cmpc_tf2.errors import InputError
from original import read_manifest

FAMILIES = {
    "image_full_eval": "cmpc",
    "image_tiny_train": "cmpc",
    "video_tiny_train": "cmpc_video",
    "rrn_tiny": "rrn",
    "rmi_tiny": "rmi",
    "lstm_tiny": "lstm",
}


def fitting(shapes: dict) -> list[str]:
    return [name for name, family in load_families().items() if family.fits(shapes)]


@pytest.mark.parametrize("manifest", FAMILIES)
def test_exactly_one_family_fits(manifest):
    shapes = read_manifest(manifest)
    assert fitting(shapes) == [FAMILIES[manifest]]
    bare = {name: shape for name, shape in shapes.items() if not name.startswith("text_objseg/")}
    assert fitting(bare) == ["deeplab" if manifest in ("rmi_tiny", "lstm_tiny") else "backbone"]


def test_a_backbone_with_other_weights_is_not_a_bare_backbone():
    shapes = {"conv1/weights": (7, 7, 3, 8), "text_objseg/novelty/DW": (1, 1, 3, 3)}
    with pytest.raises(InputError, match="none of its 2 variables is theirs"):
        find_family(SimpleNamespace(prefix="other", shapes=shapes))
