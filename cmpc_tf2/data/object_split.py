"""A split of objects as the data that negatives are drawn from."""

import collections
import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from cmpc_tf2.data.batches import read_batch
from cmpc_tf2.data.mattnet_data import (
    PreparedBox,
    PreparedData,
    PreparedPicture,
    PreparedReference,
    PreparedSentence,
)
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.errors import named
from cmpc_tf2.text.tokenizer import Tokenizer


def read_object_split(paths: list[Path], tokenizer: Tokenizer) -> PreparedData:
    """Reads a split once; of the pictures only their places stay in memory.

    Samples with the same picture file share a picture, and those with the same object of it a reference.

    Args:
        paths: The split's files in order.
        tokenizer: Encodes the sentences.

    Returns:
        The data; ids count from 0 in the order of the files. The file of a picture is the path of its first sample.
        Attribute words are those of the split, the most frequent first. There are no names of words and categories.

    Raises:
        InputError: A file cannot be used.
    """
    reader = _Reader(tokenizer)
    for path in paths:
        reader.add(path, read_batch(path, ObjectSample))
    return reader.finish()


class _Reader:
    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._pictures, self._references = {}, {}
        self._boxes, self._sentences, self._token_ids = {}, {}, []

    def add(self, path: Path, sample: ObjectSample):
        """Adds a sample."""
        key = hashlib.sha256(sample.file).digest()
        picture = self._pictures.get(key) or self._add_picture(key, path, sample)
        box = picture.annotation_ids[sample.object]
        with named(path, "; remove it from the annotations and build the split again"):
            self._token_ids.append(self._tokenizer.encode(sample.expression)["token_ids"])
        row = len(self._sentences)
        self._sentences[row] = PreparedSentence(tuple(self._tokenizer.split(sample.expression)), row)
        if box not in self._references:
            image_id = self._boxes[box].image_id
            self._references[box] = PreparedReference(image_id, box, "", (), sample.attributes)
            self._pictures[key] = dataclasses.replace(picture, reference_ids=(*picture.reference_ids, box))
        reference = self._references[box]
        self._references[box] = dataclasses.replace(reference, sentence_ids=(*reference.sentence_ids, row))

    def _add_picture(self, key: bytes, path: Path, sample: ObjectSample) -> PreparedPicture:
        number, first = len(self._pictures), len(self._boxes)
        for box, category in zip(sample.boxes.tolist(), sample.categories.tolist(), strict=True):
            self._boxes[len(self._boxes)] = PreparedBox(number, category, tuple(box), len(self._boxes))
        picture = PreparedPicture(str(path), *sample.mask_size, tuple(range(first, len(self._boxes))), ())
        self._pictures[key] = picture
        return picture

    def finish(self) -> PreparedData:
        """The data of all samples that were added."""
        # References have the ids of their boxes: an object has one at most.
        counts = collections.Counter(word for one in self._references.values() for word in set(one.attributes))
        attributes = sorted(counts, key=lambda word: (-counts[word], word))
        return PreparedData(
            pictures=dict(enumerate(self._pictures.values())),
            boxes=self._boxes,
            references=self._references,
            sentences=self._sentences,
            words=[],
            attributes=attributes,
            attribute_counts=np.array([counts[word] for word in attributes], np.int64),
            categories={},
            max_words=self._token_ids[0].size,
            token_ids=np.stack(self._token_ids).astype(np.int32),
        )
