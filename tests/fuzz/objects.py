"""Splits of objects: their files, and the annotations that they are made from."""

import contextlib
import json
from pathlib import Path

import numpy as np

from cmpc_tf2.data.batches import read_batch, write_batch
from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.data.object_builder import ObjectBuild
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.data.segmentations import run_lengths
from cmpc_tf2.errors import InputError
from fuzz.targets import Target
from refer_layout import POLYGON, make_refer

HEIGHT, WIDTH = 12, 10
MASK = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 5 > 2


def object_files(folder: Path) -> Target:
    """`.npz` files, compressed and not."""
    file = np.frombuffer(encode_image(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), np.uint8)
    boxes = np.array([[0, 0, 3, 4.5], [1, 2, 3, 4]])
    facts = (file, boxes, np.array([1, 80]), 1, MASK.shape, run_lengths(MASK), ("red",))
    path, originals = folder / "a.npz", []
    for compress in (False, True):
        write_batch(path, ObjectSample(np.arange(20), *facts, "the café"), compress)
        originals.append(path.read_bytes())

    def read(data: bytes):
        path.write_bytes(data)
        sample = read_batch(path, ObjectSample)
        assert sample.mask.shape == sample.mask_size and sample.describe()["size"] == list(sample.image.shape[:2])

    return Target(originals, read)


def object_instances(folder: Path) -> Target:
    """COCO instances files with boxes and categories."""
    references = [{"ref_id": number, "split": "val", "sentences": ["the café", "man"]} for number in range(2)]
    make_refer(folder, references)
    settings = ObjectBuild("unc", "val", folder)
    path = settings.sources.annotations[1]
    box = {"bbox": [1, 2.5, 3, 4], "category_id": 1, "segmentation": POLYGON}
    annotations = [{"id": number, "image_id": number % 2, **box} for number in (100, 101, 7, 8)]
    content = json.dumps({"annotations": annotations}).encode()

    def read(data: bytes):
        path.write_bytes(data)
        references, _ = settings.read_references(settings.sources)
        for reference in references:
            with contextlib.suppress(InputError):
                reference.find_objects(40, 60)
                reference.draw_mask(40, 60)

    return Target([content], read)


def prepared_objects(folder: Path) -> Target:
    """The data that CAC's authors prepared."""
    settings = ObjectBuild("unc", "val", folder, prepro=folder)
    ref = {"ref_id": 2, "ann_id": 3, "image_id": 1, "split": "val", "sent_ids": [0], "att_wds": ["red"]}
    ids = {"image_id": 1, "ann_ids": [3], "ref_ids": [2], "h5_id": 0}
    content = {
        "images": [{**ids, "file_name": "a.jpg", "height": 40, "width": 60}],
        "anns": [{"ann_id": 3, "box": [1, 2, 3.5, 4], "category_id": 1, "image_id": 1, "h5_id": 0}],
        "refs": [{**ref, "rle": [{"size": [40, 60], "counts": [2400]}]}],
        "sentences": [{"sent_id": 0, "tokens": ["red", "man"], "h5_id": 0}],
        "word_to_ix": {"red": 1, "man": 2, "<UNK>": 3, "<BOS>": 4, "<EOS>": 5},
        "att_to_ix": {"red": 0},
        "att_to_cnt": {"red": 3},
        "cat_to_ix": {"person": 1},
        "label_length": 10,
    }

    def read(data: bytes):
        (folder / "data.json").write_bytes(data)
        references, _ = settings.read_references(settings.sources)
        for reference in references:
            with contextlib.suppress(InputError):
                reference.find_objects(40, 60)
                reference.draw_mask(40, 60)

    return Target([json.dumps(content).encode()], read)
