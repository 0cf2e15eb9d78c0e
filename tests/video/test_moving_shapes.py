import csv
import filecmp
import functools
from pathlib import Path

import numpy as np
import pytest

from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.data.shapes import COLORS, KINDS
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.build_batches import main
from cmpc_video_tf2.config import ANNOTATED, R2D_FRAMES
from cmpc_video_tf2.data import builder
from cmpc_video_tf2.data.datasets import A2DFiles
from cmpc_video_tf2.data.moving_shapes import (
    ACTIONS,
    ANNOTATED_FRAME,
    SIDE,
    describe,
    draw_scene,
    vocabulary,
    write_moving_shapes,
)
from cmpc_video_tf2.data.samples import VideoSample

SCENES = [draw_scene(np.random.default_rng(seed)) for seed in range(200)]
# Numbers of the frames that the model reads: the video is one clip.
READ = [index + 1 for index in R2D_FRAMES]


def sentences():
    for seed, scene in enumerate(SCENES):
        for actor in scene:
            for sentence in describe(actor, scene, np.random.default_rng(seed)):
                yield sentence, actor, scene


def test_the_annotated_frame_does_not_show_the_action():
    assert ANNOTATED + 1 == ANNOTATED_FRAME and ANNOTATED_FRAME in READ
    for scene in SCENES:
        for actor in scene:
            assert actor.at(ANNOTATED_FRAME) == actor.shape and actor.shape.texture == "plain"


def test_actions_show_in_the_frames_that_are_read():
    for scene in SCENES:
        for actor in scene:
            changes = [actor.at(number) != actor.shape for number in READ]
            assert sum(changes) >= 2 if actor.action else not any(changes)


def test_every_sentence_refers_to_one_shape_and_needs_its_action():
    counts = dict.fromkeys(ACTIONS, 0)
    for sentence, actor, scene in sentences():
        words = set(sentence.split())

        def fits(other, with_action, words=words):
            shape = other.shape
            named = words & {*KINDS, *COLORS}
            return named <= {shape.kind, shape.color} and (not with_action or not words & {*ACTIONS} - {other.action})

        assert [other for other in scene if fits(other, True)] == [actor], sentence
        for action in words & {*ACTIONS}:
            counts[action] += 1
            assert sum(fits(other, False) for other in scene) > 1, sentence
    assert min(counts.values()) > 20


def test_all_words_are_in_the_vocabulary():
    words = Vocabulary(vocabulary())
    assert all(set(sentence.split()) <= set(words.words) for sentence, _, _ in sentences())


def test_shapes_stay_inside_and_apart():
    for scene in SCENES:
        for number in READ:
            shapes = [actor.at(number) for actor in scene]
            for index, shape in enumerate(shapes):
                assert shape.radius < min(shape.x, shape.y) and max(shape.x, shape.y) < SIDE - shape.radius
                for other in shapes[:index]:
                    assert np.hypot(shape.x - other.x, shape.y - other.y) > shape.radius + other.radius


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> list[Path]:
    found = [tmp_path_factory.mktemp("shapes") for _ in range(2)]
    for root in found:
        write_moving_shapes(root, {"train": 3, "test": 2}, seed=7)
    return found


def test_the_same_seed_gives_the_same_files(roots):
    files = [[path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()] for root in roots]
    assert files[0] == files[1] and len(files[0]) == 5 * 16 + 5 + 3
    assert filecmp.cmpfiles(*roots, files[0], shallow=False)[0] == files[0]


def test_masks_are_the_shapes_of_the_annotated_frame(roots, tmp_path):
    """Where a mask is, the annotated frame has the colour that the sentence names."""
    options = ["-d", "moving_shapes", "--data-root", str(roots[0]), "--output-root", str(tmp_path)]
    assert main([*options, "-t", "test"]) == 0
    assert main([*options, "-t", "train", "--image-size", "64"]) == 0
    samples = [read_batch(path, VideoSample) for path in list_batches(tmp_path, "moving_shapes", "test")]
    red = [sample for sample in samples if "red" in sample.expression.split()]
    for sample in samples:
        pixels = sample.image[sample.mask]
        assert (pixels == pixels[0]).all() and sample.image.shape == (SIDE, SIDE, 3)
    assert all((sample.image[sample.mask] == (205, 45, 40)).all() for sample in red)
    with A2DFiles.below(roots[0] / "moving_shapes").queries.open() as file:
        assert len(list(csv.reader(file))) == 1 + len(samples) + len(list_batches(tmp_path, "moving_shapes", "train"))


def test_the_dataset_is_drawn_on_first_use(tmp_path, monkeypatch):
    small = functools.partial(write_moving_shapes, videos={"train": 2, "test": 1})
    monkeypatch.setattr(builder, "write_moving_shapes", small)
    options = ["-d", "moving_shapes", "-t", "test", "--data-root", str(tmp_path), "--output-root", str(tmp_path)]
    assert main(options) == 0
    monkeypatch.setattr(builder, "write_moving_shapes", None)
    assert main([*options, "--overwrite"]) == 0
