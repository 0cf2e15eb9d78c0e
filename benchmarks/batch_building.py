"""Building train batches: this project against the original's loop, on the same data, in the same run.

The comparison is written down from `build_coco_batches` of CMPC-Refseg: for each reference read the image, resize
image and mask with scikit-image, and save one `.npz` per sentence.
"""

import argparse
import json
import pickle
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import skimage.io
from pycocotools import mask as coco_mask
from skimage.transform import resize
from skimage.util import img_as_ubyte

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import add_json_option, write_json

from cmpc_tf2.data.annotations import read_plain_pickle
from cmpc_tf2.data.builder import build_split
from cmpc_tf2.data.image_builder import ImageBuild
from cmpc_tf2.text.vocabulary import Vocabulary

SIZE = 320
IMAGE_NAME = "COCO_train2014_{:012d}.jpg"


def pad(image: np.ndarray) -> np.ndarray:
    """The original's `resize_and_pad` on today's scikit-image."""
    height, width = image.shape[:2]
    scale = min(SIZE / height, SIZE / width)
    rows, columns = int(np.round(height * scale)), int(np.round(width * scale))
    resized = resize(image, (rows, columns), order=1, mode="constant", anti_aliasing=False)
    padded = np.zeros((SIZE, SIZE, *image.shape[2:]), dtype=resized.dtype)
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    padded[top : top + rows, left : left + columns] = resized
    return padded


def original_loop(refer_root: Path, image_root: Path, vocabulary_file: Path, output: Path) -> int:
    """The original's loop; returns the number of files."""
    vocabulary = Vocabulary.from_file(vocabulary_file)
    refs = sorted(read_plain_pickle(refer_root / "refcoco" / "refs(unc).p"), key=lambda ref: ref["ref_id"])
    annotations = json.loads((refer_root / "refcoco" / "instances.json").read_bytes())["annotations"]
    segmentations = {annotation["id"]: annotation["segmentation"] for annotation in annotations}
    count = 0
    for ref in refs:
        image = skimage.io.imread(image_root / IMAGE_NAME.format(ref["image_id"]))
        encoded = coco_mask.frPyObjects(segmentations[ref["ann_id"]], *image.shape[:2])
        mask = np.max(coco_mask.decode(encoded), axis=2).astype(np.float32)
        image, mask = img_as_ubyte(pad(image)), pad(mask)
        for sentence in ref["sentences"]:
            np.savez(
                output / f"unc_train_{count}.npz",
                text_batch=vocabulary.encode(sentence["sent"]),
                im_batch=image,
                mask_batch=mask > 0,
                sent_batch=[sentence["sent"]],
            )
            count += 1
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--refer-root", type=Path, required=True, help="holds refcoco/ with few references")
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=8, help="of the data, so that start-up does not count")
    parser.add_argument("--runs", type=int, default=7)
    memory = Path("/dev/shm")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=memory if memory.is_dir() else None,
        help="where both write; by default in memory, so that the disk, which is the same for both, does not count",
    )
    add_json_option(parser)
    arguments = parser.parse_args()
    times = {"original": [], "ours": []}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        root = Path(scratch)
        relabelled = root / "refer" / "refcoco"
        relabelled.mkdir(parents=True)
        images = root / "images"
        images.mkdir()
        copies = []
        for ref in read_plain_pickle(arguments.refer_root / "refcoco" / "refs(unc).p"):
            source = arguments.image_root / IMAGE_NAME.format(ref["image_id"])
            for copy in range(arguments.copies):
                image_id = ref["image_id"] + copy * 10_000_000
                ref_id = ref["ref_id"] + copy * 10_000_000
                if not (images / IMAGE_NAME.format(image_id)).exists():
                    shutil.copy(source, images / IMAGE_NAME.format(image_id))
                copies.append({**ref, "split": "train", "image_id": image_id, "ref_id": ref_id})
        (relabelled / "refs(unc).p").write_bytes(pickle.dumps(copies, protocol=2))
        shutil.copy(arguments.refer_root / "refcoco" / "instances.json", relabelled)
        settings = ImageBuild(
            "unc", "train", refer_root=relabelled.parent, image_root=images,
            vocabulary=arguments.vocabulary, output_root=root,
        )  # fmt: skip
        for _ in range(arguments.runs):
            plain = root / "original"
            plain.mkdir()
            start = time.perf_counter()
            count = original_loop(relabelled.parent, images, arguments.vocabulary, plain)
            times["original"].append(time.perf_counter() - start)
            shutil.rmtree(plain)
            start = time.perf_counter()
            assert build_split(settings).written == count
            times["ours"].append(time.perf_counter() - start)
            shutil.rmtree(root / "unc")
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:10} {count / seconds:8.0f} batches/s")
    print(f"ratio      {medians['original'] / medians['ours']:8.1f}")
    write_json(arguments, {f"{name}_batches_per_second": count / seconds for name, seconds in medians.items()})


if __name__ == "__main__":
    main()
