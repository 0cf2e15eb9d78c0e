import csv
import dataclasses
import filecmp
import functools
import hashlib
from pathlib import Path

import numpy as np
import pytest

from cmpc_tf2.data.batches import batch_path, list_batches, read_batch, write_batch
from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.data.shapes import COLORS, KINDS
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.build_batches import main
from cmpc_video_tf2.commands.demo import scores_by_kind
from cmpc_video_tf2.config import ANNOTATED, R2D_FRAMES
from cmpc_video_tf2.data import builder
from cmpc_video_tf2.data.datasets import A2DFiles
from cmpc_video_tf2.data.moving_shapes import (
    ANNOTATED_FRAME,
    DRAWN_CLIPS,
    SIDE,
    SLIDING,
    describe,
    draw_scene,
    write_clips,
)
from cmpc_video_tf2.data.samples import VideoSample

SCENES = {
    name: [draw_scene(clips, np.random.default_rng(seed)) for seed in range(200)] for name, clips in DRAWN_CLIPS.items()
}
# Numbers of the frames that R2D reads: the video is one clip.
READ = [index + 1 for index in R2D_FRAMES]
both = pytest.mark.parametrize("clips", DRAWN_CLIPS.values(), ids=DRAWN_CLIPS)


def scenes_of(clips):
    return SCENES[clips.dataset.name]


def sentences(clips):
    for seed, scene in enumerate(scenes_of(clips)):
        for actor in scene:
            for sentence in describe(clips, actor, scene, np.random.default_rng(seed)):
                yield sentence, actor, scene


@both
def test_the_annotated_frame_does_not_show_the_action(clips):
    assert ANNOTATED + 1 == ANNOTATED_FRAME and ANNOTATED_FRAME in READ
    for scene in scenes_of(clips):
        for actor in scene:
            assert actor.at(ANNOTATED_FRAME) == actor.shape
            assert actor.shape.texture == "plain" and actor.shape.turn == 0


@both
def test_actions_show_in_the_frames_that_are_read(clips):
    for scene in scenes_of(clips):
        for actor in scene:
            changes = [actor.at(number).outline() != actor.shape.outline() for number in READ]
            assert sum(changes) >= 2 if actor.action else not any(changes)


@both
def test_every_sentence_refers_to_one_shape_and_needs_its_action(clips):
    counts = dict.fromkeys(clips.actions, 0)
    for sentence, actor, scene in sentences(clips):
        words, action = set(sentence.split()), clips.action_in(sentence)

        def fits(other, with_action, words=words, action=action):
            shape = other.shape
            named = words & {*KINDS, *COLORS}
            able = (shape.kind, action) not in clips.invisible
            return named <= {shape.kind, shape.color} and able and (not with_action or action in (None, other.action))

        assert [other for other in scene if fits(other, True)] == [actor], sentence
        if action:
            counts[action] += 1
            assert sum(fits(other, False) for other in scene) > 1, sentence
    assert min(counts.values()) > 20


@both
def test_all_words_are_in_the_vocabulary(clips):
    words = Vocabulary(clips.vocabulary())
    assert all(set(sentence.split()) <= set(words.words) for sentence, _, _ in sentences(clips))


def test_both_forms_of_sentences_name_an_action_of_several_words():
    found = {sentence for sentence, _, _ in sentences(SLIDING)}
    for sentence in ("circle sliding left", "the circle sliding left", "circle that is sliding left"):
        assert sentence in found and SLIDING.action_in(sentence) == "sliding left"
    assert SLIDING.action_in("the red circle") is None


@both
def test_shapes_stay_inside_and_apart(clips):
    for scene in scenes_of(clips):
        for number in range(1, 17):
            shapes = [actor.at(number) for actor in scene]
            for index, shape in enumerate(shapes):
                assert shape.radius < min(shape.x, shape.y) and max(shape.x, shape.y) < SIDE - shape.radius
                for other in shapes[:index]:
                    assert np.hypot(shape.x - other.x, shape.y - other.y) > shape.radius + other.radius


def test_sliding_right_is_sliding_left_played_backwards():
    """Also in the five frames that R2D reads."""
    seen = set()
    for scene in scenes_of(SLIDING):
        for actor in (actor for actor in scene if actor.action == "sliding left"):
            right = dataclasses.replace(actor, action="sliding right", motion=SLIDING.actions["sliding right"])
            for numbers in (READ, range(2, 17)):
                left_xs, right_xs = [[one.at(number).x for number in numbers] for one in (actor, right)]
                assert left_xs[0] > left_xs[-1] and left_xs == pytest.approx(right_xs[::-1])
            seen.add(actor.shape.kind)
    assert seen == set(KINDS)


def test_the_place_in_the_annotated_frame_does_not_tell_the_action():
    """Every shape has room for every action."""
    for actor in (actor for scene in scenes_of(SLIDING) for actor in scene):
        for action in SLIDING.actions.values():
            for number in range(1, 17):
                shape = dataclasses.replace(actor, motion=action).at(number)
                assert shape.radius < min(shape.x, shape.y) and max(shape.x, shape.y) < SIDE - shape.radius


def test_circles_do_not_roll():
    rolling = {actor.shape.kind for scene in scenes_of(SLIDING) for actor in scene if actor.action == "rolling"}
    assert rolling == {*KINDS} - {"circle"}


@pytest.fixture(scope="module", params=DRAWN_CLIPS)
def drawn(request, tmp_path_factory) -> tuple[str, list[Path]]:
    """The name of a data set, and two folders in which it was drawn."""
    found = [tmp_path_factory.mktemp("shapes") for _ in range(2)]
    for root in found:
        write_clips(DRAWN_CLIPS[request.param], root, {"train": 3, "test": 2}, seed=7)
    return request.param, found


def test_the_same_seed_gives_the_same_files(drawn):
    name, roots = drawn
    files = [[path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()] for root in roots]
    assert files[0] == files[1] and len(files[0]) == 5 * 16 + 5 + 3
    assert Path(f"vocabulary_{name}.txt") in files[0] and Path(name, "a2d_annotation.txt") in files[0]
    assert filecmp.cmpfiles(*roots, files[0], shallow=False)[0] == files[0]


def test_moving_shapes_are_drawn_as_before(tmp_path):
    """Pixels, sentences and splits: published scores stay comparable."""
    write_clips(DRAWN_CLIPS["moving_shapes"], tmp_path, {"train": 2, "test": 1})
    digest = hashlib.sha256()
    for path in sorted(tmp_path.rglob("*")):
        if path.suffix == ".png":
            digest.update(read_image(path).tobytes())
        elif path.suffix in (".txt", ".csv"):
            digest.update(path.read_bytes())
    assert digest.hexdigest() == "17f0fd7a9e4ec2aafb422709e41c8f4df5353ca6e459586e839449fc073b074a"


def test_masks_are_the_shapes_of_the_annotated_frame(drawn, tmp_path):
    """Where a mask is, the annotated frame has the colour that the sentence names."""
    name, roots = drawn
    options = ["-d", name, "--data-root", str(roots[0]), "--output-root", str(tmp_path)]
    assert main([*options, "-t", "test"]) == 0
    assert main([*options, "-t", "train", "--image-size", "64"]) == 0
    samples = [read_batch(path, VideoSample) for path in list_batches(tmp_path, name, "test")]
    red = [sample for sample in samples if "red" in sample.expression.split()]
    for sample in samples:
        pixels = sample.image[sample.mask]
        assert (pixels == pixels[0]).all() and sample.image.shape == (SIDE, SIDE, 3)
    assert all((sample.image[sample.mask] == (205, 45, 40)).all() for sample in red)
    with A2DFiles.below(roots[0] / name).queries.open() as file:
        assert len(list(csv.reader(file))) == 1 + len(samples) + len(list_batches(tmp_path, name, "train"))


@pytest.mark.parametrize("name", DRAWN_CLIPS)
def test_the_dataset_is_drawn_on_first_use(name, tmp_path, monkeypatch):
    small = functools.partial(write_clips, videos={"train": 2, "test": 1})
    monkeypatch.setattr(builder, "write_clips", small)
    options = ["-d", name, "-t", "test", "--data-root", str(tmp_path), "--output-root", str(tmp_path)]
    assert main(options) == 0
    monkeypatch.setattr(builder, "write_clips", None)
    assert main([*options, "--overwrite"]) == 0


def test_scores_tell_actions_of_several_words_apart(tmp_path):
    said = ["the red shape", "circle sliding left", "shape that is sliding right", "the star sliding left"]
    blank = np.zeros((16, 8, 8, 3), np.uint8)
    for index, sentence in enumerate(said):
        path = batch_path(tmp_path, "sliding_shapes", "test", index)
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((8, 8), bool)
        write_batch(path, VideoSample(np.zeros(20, np.int64), blank[8], mask, sentence, blank, 9))
    records = [{"index": index, "intersection": index, "union": 4} for index in range(4)]
    assert scores_by_kind({"per_sample": records}, tmp_path, "sliding_shapes") == {
        "all": (4, 6 / 16), "attributes": (1, 0.0), "actions": (3, 6 / 12),
        "  sliding left": (2, 4 / 8), "  sliding right": (1, 2 / 4),
    }  # fmt: skip
