"""Reports of evaluations that never ran."""

import numpy as np

from cmpc_tf2.medium import PICTURES
from cmpc_tf2.reports.report import make_report

EXPRESSIONS = [
    "man",
    "red circle",
    "left of the blue square",
    "the man in the middle of the second row",
    "biggest one",
    "a very long sentence about the old man who reads a newspaper",
]


def make_records(ious: np.ndarray, pictures: np.ndarray) -> list[dict]:
    """Records of samples with about these IoUs, on pictures of 10 x 20 pixels with objects of 1 to 199 pixels."""
    records = []
    for index, (iou, picture) in enumerate(zip(ious, pictures, strict=True)):
        union = 1 + 37 * index % 199
        counts = {"intersection": round(float(iou) * union), "union": union}
        about = {"expression": EXPRESSIONS[index % len(EXPRESSIONS)], "picture": f"{picture:016x}"}
        counts |= {f"own_size_{name}": count for name, count in counts.items()}
        records.append({"index": index, **about, "size": [10, 20], "area": union, **counts})
    return records


def made_report(records: list[dict], fields: list[dict] | None = None, **head) -> dict:
    """A report of these records."""
    scored = {"samples": len(records), "skipped": [], **PICTURES.task.summarize(records), "per_sample": records}
    head = {"dataset": "unc", "split": "val", "model": "a.keras", "protocol": "original", **head}
    return make_report(head, scored, fields or [{} for _ in records], PICTURES.task)
