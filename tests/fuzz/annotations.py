"""Annotations, masks, word vectors and batches."""

import contextlib
import gzip
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from pycocotools import mask as coco_mask

from cmpc_tf2.data.annotations import read_references
from cmpc_tf2.data.batches import Sample, check_batches, read_batch
from cmpc_tf2.data.image_builder import ImageBuild
from cmpc_tf2.data.phrasecut import read_phrasecut
from cmpc_tf2.data.segmentations import rasterize
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import read_json
from cmpc_tf2.text.embeddings import build_embeddings, load_embeddings
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.data.annotations import (
    jhmdb_length,
    read_a2d_mask,
    read_jhmdb_mask,
    read_queries,
    read_split,
)
from cmpc_video_tf2.data.builder import read_chosen
from cmpc_video_tf2.data.samples import VideoSample
from fuzz.targets import Target
from phrasecut_files import task, write_phrasecut
from refer_layout import POLYGON, WORDS, make_refer

HEIGHT, WIDTH = 12, 10
MASK = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 5 > 2


def batches(folder: Path) -> Target:
    """`.npz` files of pictures and clips, compressed and not."""
    image = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    sample = Sample(np.arange(20), image, MASK, "the café")
    clip = VideoSample(np.arange(20), image, MASK, "the café", np.stack([image] * 5), 3)
    originals = [
        _saved(lambda file, save=save, kind=kind: save(file, **kind.to_arrays()))
        for save in (np.savez, np.savez_compressed)
        for kind in (sample, clip)
    ]

    def read(path: Path):
        with contextlib.suppress(InputError):
            check_batches([path])
        with contextlib.suppress(InputError):
            read_batch(path, VideoSample)
        read_batch(path)

    return _target(folder / "a.npz", originals, read)


def embeddings(folder: Path) -> Target:
    """`.npy` tables of word vectors."""
    table = np.arange(12).reshape(4, 3)
    originals = [_saved(lambda file, kind=kind: np.save(file, table.astype(kind))) for kind in ("f4", "f8", ">f4")]
    originals.append(_saved(lambda file: np.save(file, np.asfortranarray(table, "f4"))))
    return _target(folder / "emb.npy", originals, lambda path: load_embeddings(path, (4, 3)))


def glove(folder: Path) -> Target:
    """GloVe text, with word2vec's head line, compressed."""
    text = b"".join(b"%s 0.5 -1e-3 %d\n" % (word.encode(), number) for number, word in enumerate(WORDS))
    vocabulary = Vocabulary(WORDS)
    originals = [text, b"7 3\n" + text, gzip.compress(text, mtime=0)]
    return _target(folder / "glove.txt", originals, lambda path: build_embeddings(path, vocabulary))


def refs(folder: Path) -> Target:
    """Pickles of REFER, of every protocol."""
    path, read = _refer(folder)
    plain = pickle.loads(path["refs"].read_bytes())
    return _target(path["refs"], [pickle.dumps(plain, protocol=protocol) for protocol in range(6)], read)


def instances(folder: Path) -> Target:
    """COCO instances files."""
    path, read = _refer(folder)
    return _target(path["instances"], [path["instances"].read_bytes()], read)


def segmentations(folder: Path) -> Target:
    """Polygons and run lengths, as JSON."""
    encoded = coco_mask.encode(np.asfortranarray(MASK.astype(np.uint8)))
    compressed = {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
    plain = {"size": [HEIGHT, WIDTH], "counts": [5, 7, 1, 0, 100, 7]}
    originals = [compressed, plain, [compressed, plain], [[1, 2, 9, 2.5, 4, 11]], [[1e1, 2, 3, 4, 5, 6], [0] * 8]]
    written = [json.dumps(segmentation).encode() for segmentation in originals]
    return _target(folder / "a.json", written, lambda path: rasterize(read_json(path), HEIGHT, WIDTH))


def run_lengths(folder: Path) -> Target:
    """The texts of compressed run lengths, which as JSON are seldom hit."""
    rng = np.random.default_rng(0)
    masks = [MASK, *(rng.random((HEIGHT, WIDTH)) < share for share in (0.1, 0.5))]
    originals = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in masks]

    def read(counts: bytes):
        rasterize({"size": [HEIGHT, WIDTH], "counts": bytes(48 + (byte - 48) % 64 for byte in counts)}, HEIGHT, WIDTH)

    return Target(originals, read)


def regions(folder: Path) -> Target:
    """Queries of ReferIt."""
    content = json.dumps({"123_1": ["red man", "man"], "123_2": ["left"]}).encode()
    return _layout(folder, "referit", "test", [content])


def phrases(folder: Path) -> Target:
    """Tasks of PhraseCut."""
    polygons = [[[[1, 2], [9.5, 2], [4, 11]]], [[[0, 0], [3, 0], [3, 3]]]]
    task = {"task_id": "7__1", "image_id": 7, "phrase": "red man", "Polygons": polygons}
    return _layout(folder, "phrasecut", "miniv", [json.dumps([task, {**task, "task_id": "8__1"}]).encode()])


def phrase_tasks(folder: Path) -> Target:
    """Tasks of PhraseCut for its own metrics."""
    return _phrasecut(folder, "refer_miniv.json")


def phrase_pictures(folder: Path) -> Target:
    """Pictures of PhraseCut."""
    return _phrasecut(folder, "image_data_split.json")


def phrase_words(folder: Path) -> Target:
    """Word lists of PhraseCut."""
    return _phrasecut(folder, "subset.py")


def queries(folder: Path) -> Target:
    """Sentences of A2D and J-HMDB."""
    originals = [
        b'video_id,instance_id,query\nabc,1,the man\nd-e,2 (copy),"a ""red"", cat"\n',
        b'\xef\xbb\xbfvideo_id,query\r\nabc,the man\r\nd-e,"a red, cat"\r\n',
    ]
    return _target(folder / "a.txt", originals, read_queries)


def video_splits(folder: Path) -> Target:
    """A2D's `videoset.csv`."""
    originals = [b"abc,1,0:01,0:02,240,320,50,3,0\nd-e,2,0:01,0:02,240,320,50,3,1\n"]
    return _target(folder / "videoset.csv", originals, read_split)


def chosen_frames(folder: Path) -> Target:
    """The list of J-HMDB's tested frames."""
    originals = [json.dumps([["clip", "./x/clip/00002.png", "./m.mat", 12, "the man"], ["a", "x/00009.png"]]).encode()]
    return _target(folder / "a.json", originals, read_chosen)


def a2d_masks(folder: Path) -> Target:
    """HDF5 files of A2D-Sentences."""

    def write(file, **storage):
        with h5py.File(file, "w") as hdf5:
            hdf5["instance"] = [0, 2]
            hdf5.create_dataset("reMask", data=np.stack([MASK.T, ~MASK.T]).astype("u1"), **storage)

    originals = [_saved(write), _saved(lambda file: write(file, compression="gzip"))]
    return _target(folder / "a.h5", originals, lambda path: read_a2d_mask(path, 2))


def mat_masks(folder: Path) -> Target:
    """MATLAB files of J-HMDB and ReferIt."""
    arrays = {"other": "text", "part_mask": np.stack([MASK, ~MASK], axis=-1).astype(np.uint8)}
    originals = [
        _saved(lambda file, packed=packed: scipy.io.savemat(file, arrays, do_compression=packed))
        for packed in (False, True)
    ]
    originals = [b"MATLAB 5.0 MAT-file".ljust(116) + content[116:] for content in originals]  # The time stands there.

    def read(path: Path):
        jhmdb_length(path)
        read_jhmdb_mask(path, 1)

    return _target(folder / "a.mat", originals, read)


def _saved(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _target(path: Path, originals: list[bytes], read: Callable[[Path], object]) -> Target:
    def read_content(content: bytes):
        path.write_bytes(content)
        read(path)

    return Target(originals, read_content)


def _refer(folder: Path) -> tuple[dict[str, Path], Callable[[Path], None]]:
    segmentations = [POLYGON, {"size": [HEIGHT, WIDTH], "counts": [5, 7]}]
    references = [
        {"ref_id": number, "split": "val", "sentences": ["the café", "man"], "segmentation": segmentation}
        for number, segmentation in enumerate(segmentations)
    ]
    make_refer(folder, references)
    settings = ImageBuild("unc", "val", folder)
    dataset, sources = settings.registered, settings.sources
    paths = dict(zip(("refs", "instances"), sources.annotations, strict=True))
    return paths, lambda _: _draw_all(read_references(dataset, "val", sources))


def _layout(folder: Path, name: str, split: str, originals: list[bytes]) -> Target:
    settings = ImageBuild(name, split, folder)
    dataset, sources = settings.registered, settings.sources
    (path,) = sources.annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    return _target(path, originals, lambda _: _draw_all(read_references(dataset, split, sources)))


def _phrasecut(folder: Path, name: str) -> Target:
    polygons = [[[[1, 2], [9.5, 2], [4, 11]]], [[[0, 0], [3, 0], [3, 3]]]]
    tasks = [task(1, polygons, attributes=["red"], relations=[["on", "sea"]]), task(2)]
    path = write_phrasecut(folder / "phrasecut", tasks) / name

    def read(_):
        split = read_phrasecut(path.parent, "miniv")
        for task_id in split.task_ids:
            split.draw_mask(task_id, HEIGHT, WIDTH)
            split.subsets(task_id)

    return _target(path, [path.read_bytes()], read)


def _draw_all(references):
    for reference in references:
        with contextlib.suppress(InputError):
            reference.draw_mask(HEIGHT, WIDTH)
