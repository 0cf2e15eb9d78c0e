"""Which shape a model takes a sentence to mean, on the test splits of the embedded video data sets.

Of the shapes that the noun of a sentence fits, the model chooses the one with the highest mean probability. Overall IoU
also depends on how sure the model is; this share does not.
"""

import collections
import statistics
from collections.abc import Callable, Iterator

import numpy as np

from cmpc_tf2.data.annotations import rasterize
from cmpc_tf2.data.shapes import KINDS
from cmpc_video_tf2.data.moving_shapes import SEED, SIDE, VIDEOS, Actor, DrawnClips, compose, draw_scene

OTHER_WAY = {"sliding left": "sliding right", "sliding right": "sliding left"}
# Sentences about a sliding shape beside one that slides the other way: which of these two does the model choose?
DIRECTION = "left or right"

# Few videos of the test split are about both ways: these further ones are drawn for this question alone.
FURTHER_VIDEOS = 1000

# Kind of the sentence, sentence, the shape that is meant, and the shapes to choose from.
Question = tuple[str, str, Actor, list[Actor]]


def kinds_of(clips: DrawnClips) -> list[str]:
    """The kinds of questions, in the order of tables."""
    return ["attributes", "actions", *clips.actions, *([DIRECTION] if OTHER_WAY.keys() <= clips.actions.keys() else [])]


def held_out(clips: DrawnClips) -> Iterator[tuple[list[Actor], list[np.ndarray], list[Question]]]:
    """Actors, frames and questions of each video of the test split, and of further ones about both ways."""
    end = sum(VIDEOS.values())
    for index in range(VIDEOS["train"], end):
        scene, frames, sentences = compose(clips, index)
        yield scene, frames, list(questions(clips, scene, sentences))
    for index in range(end, end + FURTHER_VIDEOS):
        if OTHER_WAY.keys() <= {actor.action for actor in draw_scene(clips, np.random.default_rng([SEED, index]))}:
            scene, frames, sentences = compose(clips, index)
            asked = questions(clips, scene, sentences)
            yield scene, frames, [question for question in asked if question[0] == DIRECTION]


def questions(clips: DrawnClips, scene: list[Actor], sentences: list[list[str]]) -> Iterator[Question]:
    """The questions about a video; a sentence whose noun fits one shape is none."""
    for actor, about in zip(scene, sentences, strict=True):
        for sentence in about:
            action, kinds = clips.action_in(sentence), {*KINDS} & {*sentence.split()}
            fitting = [other for other in scene if kinds <= {other.shape.kind}]
            fitting = [other for other in fitting if (other.shape.kind, action) not in clips.invisible]
            if len(fitting) > 1:
                for kind in ("actions", action) if action else ("attributes",):
                    yield kind, sentence, actor, fitting
            opposite = [other for other in fitting if action in OTHER_WAY and other.action == OTHER_WAY[action]]
            if opposite:
                yield DIRECTION, sentence, actor, [actor, *opposite]


def share_of_right_choices(
    clips: DrawnClips, show: Callable[[list[np.ndarray]], None], predict: Callable[[str], np.ndarray]
) -> dict[str, float]:
    """The share of questions that a model answers right, by kind.

    Args:
        clips: The data set.
        show: Gives the 16 frames of a clip to the model.
        predict: Gives the probabilities of a sentence in the annotated frame, `(h, w)`.
    """
    right = collections.defaultdict(list)
    for scene, frames, asked in held_out(clips):
        show(frames)
        masks = {actor: rasterize([actor.shape.outline()], SIDE, SIDE) for actor in scene}
        for kind, sentence, actor, fitting in asked:
            probabilities = predict(sentence)
            means = {one: probabilities[masks[one]].mean() for one in fitting}
            right[kind].append(float(max(means, key=means.get) == actor))
    return {kind: statistics.mean(right[kind]) for kind in kinds_of(clips)}


def chances(clips: DrawnClips) -> dict[str, tuple[int, float]]:
    """The number of questions by kind, and the share that a blind choice answers right."""
    blind = collections.defaultdict(list)
    for _, _, asked in held_out(clips):
        for kind, _, _, fitting in asked:
            blind[kind].append(1 / len(fitting))
    return {kind: (len(blind[kind]), statistics.mean(blind[kind])) for kind in kinds_of(clips)}
