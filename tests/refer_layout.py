"""A small data set in REFER's layout, drawn by the tests."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

POLYGON = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]]
WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "red", "man", "left"]


def make_refer(
    root: Path, references: list[dict], folder: str = "refcoco", refs_file: str = "refs(unc).p"
) -> list[str]:
    """Writes pictures, annotations and vocabulary below `root`; returns the arguments that point the builder there.

    A reference: `ref_id`, `split`, `sentences`, and optionally `segmentation`.
    """
    images = root / "images"
    refer = root / "refer" / folder
    images.mkdir(parents=True)
    refer.mkdir(parents=True)
    refs, annotations = [], []
    rng = np.random.default_rng(0)
    for reference in references:
        number = reference["ref_id"]
        pixels = rng.integers(0, 256, size=(40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"COCO_train2014_{number:012d}.jpg")
        refs.append(
            {
                "ref_id": number,
                "ann_id": 100 + number,
                "image_id": number,
                "split": reference["split"],
                "sentences": [{"sent_id": i, "sent": s} for i, s in enumerate(reference["sentences"])],
            }
        )
        annotations.append({"id": 100 + number, "segmentation": reference.get("segmentation", POLYGON)})
    (refer / refs_file).write_bytes(pickle.dumps(refs, protocol=2))
    (refer / "instances.json").write_text(json.dumps({"annotations": annotations}))
    (root / "words.txt").write_text("\n".join(WORDS) + "\n")
    return [
        "--refer-root", str(root / "refer"), "--image-root", str(images),
        "--vocabulary", str(root / "words.txt"), "--output-root", str(root),
    ]  # fmt: skip
