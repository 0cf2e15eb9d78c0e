"""Clips encoded frame by frame: clips of one video share most of their frames."""

import collections
import itertools

import keras
import numpy as np
import tensorflow as tf

from cmpc_tf2.data.batches import digest_of
from cmpc_tf2.inference.graphs import graph
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

# Frames that stay encoded, in case the next clip has them too.
KEPT = 32


class FrameEncoder:
    """Encodes clips, each of their different frames once.

    Args:
        encode: A model of frames, `(N, S, S, 3)`, to a list of maps, `(N, ...)` each.
        join: A model of these maps of the frames of clips, `(B, F, ...)` each, to the features of the clips.
        preprocessing: That of the model.
    """

    def __init__(self, encode: keras.Model, join: keras.Model, preprocessing: Preprocessing):
        self._preprocessing = preprocessing
        frames = tf.TensorSpec((None, *encode.input.shape[1:]), tf.float32)
        maps = [tf.TensorSpec((None, *one.shape[1:]), one.dtype) for one in join.input]
        self._encode = graph(lambda frames: encode(frames, training=False), frames)
        self._join = graph(lambda maps: join(maps, training=False), maps)
        self._kept: collections.OrderedDict[str, list[tf.Tensor]] = collections.OrderedDict()

    def __call__(self, pixels: np.ndarray) -> dict[str, tf.Tensor]:
        """The features of clips, uint8 RGB `(B, F, S, S, 3)`."""
        keys = [[digest_of(frame) for frame in clip] for clip in pixels]
        frames = dict(zip(itertools.chain(*keys), itertools.chain(*pixels), strict=True))
        if new := {key: frame for key, frame in frames.items() if key not in self._kept}:
            found = self._encode(tf.constant(self._preprocessing.normalize(np.stack(list(new.values())))))
            self._kept |= {key: [one[row] for one in found] for row, key in enumerate(new)}
        for key in frames:
            self._kept.move_to_end(key)
        of_clips = [list(zip(*(self._kept[key] for key in clip), strict=True)) for clip in keys]
        maps = [tf.stack([tf.stack(frames) for frames in level]) for level in zip(*of_clips, strict=True)]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._join(maps)
