import functools

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

import build_batches
from cmpc_tf2.data import image_builder
from cmpc_tf2.data.annotations import rasterize
from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.data.shapes import (
    COLORS,
    KINDS,
    RELATION_MARGIN,
    SIZES,
    TEXTURES,
    compose,
    splits_of,
    vocabulary,
    write_shapes,
)
from cmpc_tf2.text.vocabulary import Vocabulary, tokenize

SPLITS = ("train", "val", "testA", "testB")
RELATION_WORDS = ("left", "right", "above", "below")


@pytest.fixture(scope="module")
def pictures():
    return {split: [compose(number, split, seed=3) for number in range(40)] for split in SPLITS}


def fitting(words: list[str], scene):
    """Returns the shapes that match all words of a noun phrase, independently of the generator."""
    for word in words:
        if word in COLORS:
            scene = [shape for shape in scene if shape.color == word]
        elif word in KINDS:
            scene = [shape for shape in scene if shape.kind == word]
        elif word in SIZES:
            scene = [shape for shape in scene if shape.size == word]
        elif word in TEXTURES:
            scene = [shape for shape in scene if shape.texture == word]
        else:
            assert word in ("the", "that", "is", "of"), word
    return scene


def clearly(relation: str, shape, anchor) -> bool:
    offset = {
        "left": anchor.x - shape.x,
        "right": shape.x - anchor.x,
        "above": anchor.y - shape.y,
        "below": shape.y - anchor.y,
    }[relation]
    assert abs(offset) >= RELATION_MARGIN, "too close to call"
    return offset > 0


def test_every_expression_refers_to_the_target_alone(pictures):
    counted = 0
    for split, some in pictures.items():
        for picture in some:
            for target, expressions in picture.references:
                for _, expression in expressions:
                    words = expression.split()
                    relations = [word for word in words if word in RELATION_WORDS]
                    if not relations:
                        assert split != "testB"
                        assert fitting(words, picture.scene) == [target], expression
                    else:
                        assert split != "testA"
                        at = words.index(relations[0])
                        candidates = fitting(words[:at], picture.scene)
                        (anchor,) = fitting(words[at + 1 :], picture.scene)
                        assert len(candidates) > 1 and anchor not in candidates, expression
                        assert [c for c in candidates if clearly(relations[0], c, anchor)] == [target], expression
                    counted += 1
    assert counted > 300


def test_shapes_do_not_touch_and_lie_inside(pictures):
    for picture in pictures["train"]:
        for number, shape in enumerate(picture.scene):
            outline = np.reshape(shape.outline(), (-1, 2))
            assert outline.min() >= 0 and (outline.max(axis=0) <= [picture.width, picture.height]).all()
            for other in picture.scene[:number]:
                assert np.hypot(shape.x - other.x, shape.y - other.y) > shape.radius + other.radius


def test_masks_equal_the_painted_shapes(pictures):
    for picture in pictures["train"][:10]:
        for target, _ in picture.references:
            mask = rasterize([target.outline()], picture.height, picture.width)
            color = np.array(COLORS[target.color])
            inside = picture.pixels[mask]
            assert ((inside == color).all(axis=1) | (inside == color // 3).all(axis=1)).all()
            around = binary_dilation(mask, iterations=2) & ~mask
            grey = picture.pixels[around]
            assert (grey == grey[:, :1]).all()


def test_the_vocabulary_has_every_word(pictures):
    words = Vocabulary(vocabulary())
    for some in pictures.values():
        for picture in some:
            for _, expressions in picture.references:
                for _, expression in expressions:
                    assert all(token in words.ids for token in tokenize(expression)), expression


def test_pictures_follow_from_seed_and_number():
    one, same = compose(5, "train", seed=1), compose(5, "train", seed=1)
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert one.references == same.references
    other = compose(5, "train", seed=2)
    assert one.pixels.shape != other.pixels.shape or (one.pixels != other.pixels).any()


def test_split_sizes():
    splits = [split for _, split in splits_of(2000)]
    assert {split: splits.count(split) for split in SPLITS} == {"train": 1600, "val": 160, "testA": 120, "testB": 120}
    assert {split for _, split in splits_of(4)} == set(SPLITS)


def test_the_dataset_is_built_like_any_other(tmp_path, monkeypatch, capsys):
    """The pictures are drawn once, on first use."""
    monkeypatch.setattr(image_builder, "write_shapes", functools.partial(write_shapes, images=12, seed=4))
    data_root = tmp_path / "data"
    data_root.mkdir()
    for split in SPLITS:
        arguments = ["-d", "shapes", "-t", split, "--data-root", str(data_root), "--output-root", str(tmp_path)]
        assert build_batches.main(arguments) == 0
        samples = [read_batch(path) for path in list_batches(tmp_path, "shapes", split)]
        assert samples and all(sample.mask.any() and 3 not in sample.token_ids for sample in samples)
    first = (data_root / "refer" / "shapes" / "refs(shapes).p").read_bytes()
    assert capsys.readouterr().err.count("drawing 12 pictures") == 1
    write_shapes(tmp_path / "again", images=12, seed=4)
    assert (tmp_path / "again" / "refer" / "shapes" / "refs(shapes).p").read_bytes() == first
