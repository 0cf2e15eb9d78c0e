"""Scores a split by the original's protocol."""

import argparse
import collections
import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from cmpc_tf2.crf import load_densecrf, refine_mask
from cmpc_tf2.data.batches import Sample, check_batches, group_by_pixels, list_batches, read_batch
from cmpc_tf2.data.datasets import find_dataset
from cmpc_tf2.data.image_ops import fit_image, restore_map, restore_mask, write_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import progress, require_folder, require_writable, write_json
from cmpc_tf2.gallery import GalleryEntry, write_gallery
from cmpc_tf2.metrics import SegmentationScores, intersection_and_union, iou
from cmpc_tf2.overlays import draw_masks
from cmpc_tf2.processes import process_pool
from cmpc_tf2.task import IMAGES, Task

if TYPE_CHECKING:
    from cmpc_tf2.predictor import TwoStageModel

logger = logging.getLogger(__name__)

# The original's threshold on logits.
SCORE_THRESHOLD = 1e-9


def evaluate(
    model: "TwoStageModel",
    paths: list[Path],
    dcrf: bool = False,
    exact_masks: bool = False,
    batch_size: int = 4,
    workers: int = 0,
    on_prediction: Callable[[int, Sample, np.ndarray, float], None] | None = None,
    task: Task = IMAGES,
) -> dict:
    """Scores a model on batches.

    The protocol is that of the published numbers: the thresholded 320 x 320 mask is interpolated back to the
    picture's size, and every pixel that is not exactly zero counts as foreground, the interpolated rim included.

    Source: `test` in `trainval_model.py` of CMPC-Refseg.

    Differs from TF1: an expression without words is skipped and reported; a sample with an empty ground truth and
    an empty prediction has an IoU of 1; a split may have any number of samples. Tested by `tests/test_evaluate.py`.

    Args:
        model: The model.
        paths: The split's files in order.
        dcrf: Score masks refined by DenseCRF too.
        exact_masks: Leave out the rim: an interpolated value counts from one half on. Not comparable with published
            numbers.
        batch_size: Expressions of one picture that are decoded together. Changes nothing but float rounding.
        workers: With `dcrf`, processes that refine and score while the model goes on. They change no number.
        on_prediction: Called with each sample's index, the sample, its final mask, bool `(h, w)`, and the mask's IoU.
        task: What the files hold, and what is scored.

    Returns:
        The report's `samples`, `skipped`, `plain`, `dcrf` and `per_sample`.

    Raises:
        InputError: A batch cannot be used.
    """
    plain, refined = (SegmentationScores(task.thresholds, task.average_precision) for _ in range(2))
    skipped, records = [], []
    score = functools.partial(_score, dcrf=dcrf, exact_masks=exact_masks)
    with _mapping(score, workers if dcrf else 0) as scored:
        predictions = _predictions(model, paths, batch_size, skipped, task.sample_type)
        for (index, sample, _), (prediction, record) in scored(predictions):
            plain.add(record["intersection"], record["union"])
            if dcrf:
                refined.add(record["dcrf_intersection"], record["dcrf_union"])
            records.append({"index": index, **record})
            if on_prediction is not None:
                prefix = "dcrf_" if dcrf else ""
                final_iou = iou(record[f"{prefix}intersection"], record[f"{prefix}union"])
                on_prediction(index, sample, prediction, final_iou)

    return {
        "samples": len(records),
        "skipped": skipped,
        "plain": plain.summary(),
        "dcrf": refined.summary() if dcrf else None,
        "per_sample": records,
    }


def _score(predicted: tuple, dcrf: bool, exact_masks: bool) -> tuple[np.ndarray, dict]:
    """The final mask of a sample, and its record."""
    _, sample, logits = predicted
    record = {}

    def restore(mask: np.ndarray, prefix: str) -> np.ndarray:
        if exact_masks:
            prediction = restore_map(mask, *sample.mask.shape, border="constant") >= 0.5
        else:
            prediction = restore_mask(mask, *sample.mask.shape)
        intersection, union = intersection_and_union(prediction, sample.mask)
        record.update({f"{prefix}intersection": intersection, f"{prefix}union": union})
        return prediction

    prediction = restore(logits >= SCORE_THRESHOLD, "")
    if dcrf:
        prediction = restore(refine_mask(expit(logits), fit_image(sample.image, len(logits))), "dcrf_")
    return prediction, record


@contextlib.contextmanager
def _mapping(function: Callable, workers: int) -> Iterator[Callable]:
    """Gives a function that yields pairs of an item and its result, in order; in processes if there are workers.

    However many items there are, only a few are held at a time.
    """
    if not workers:
        yield lambda items: ((item, function(item)) for item in items)
        return
    with process_pool(workers) as pool:

        def mapped(items):
            waiting = collections.deque()
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                while len(waiting) > 4 * workers or (waiting and waiting[0][1].done()):
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()

        yield mapped


def _predictions(
    model: "TwoStageModel", paths: list[Path], batch_size: int, skipped: list, kind: type[Sample]
) -> Iterator[tuple[int, Sample, np.ndarray]]:
    """Yields index, sample and logits for each sample.

    Neighbouring samples of equal pixels share the encoding.
    """
    for samples in group_by_pixels(_read_samples(model, paths, skipped, kind)):
        features = None
        while members := list(itertools.islice(samples, batch_size)):
            if features is None:
                features = model.encode(members[0][1].fitted(model.config.image_size)[None])
            logits = model.decode(features, np.stack([sample.token_ids for _, sample in members]))
            for (index, sample), sample_logits in zip(members, logits, strict=True):
                yield index, sample, sample_logits


def _read_samples(
    model: "TwoStageModel", paths: list[Path], skipped: list, kind: type[Sample]
) -> Iterator[tuple[int, Sample]]:
    config = model.config
    for index, path in enumerate(progress(paths, len(paths), "evaluate")):
        sample = read_batch(path, kind)
        ids = sample.token_ids
        if ids.shape != (config.max_words,) or ids.min() < 0 or ids.max() >= config.vocabulary_size:
            raise InputError(
                f"{path}: token ids do not fit the model, which has {config.max_words} word slots and "
                f"{config.vocabulary_size} words; build the split with the model's vocabulary"
            )
        if not ids.any():
            skipped.append({"index": index, "reason": "the expression has no words"})
            logger.warning("%s: skipped: the expression has no words", path)
            continue
        yield index, sample


def format_scores(title: str, scores: dict) -> str:
    """The scores in the words the original prints."""
    lines = [f"{title}:"]
    lines += [f"precision@{threshold} = {value:f}" for threshold, value in scores["precision"].items()]
    if "average_precision" in scores:
        lines.append(f"average precision = {scores['average_precision']:f}")
    lines.append(f"overall IoU = {scores['overall_iou']:f}; mean IoU = {scores['mean_iou']:f}")
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace):
    """The `evaluate` command."""
    task = arguments.task
    dataset = find_dataset(arguments.dataset, arguments.split, task.datasets)
    if arguments.dcrf:
        load_densecrf()
    if arguments.report:
        require_writable(arguments.report, others=[arguments.model])
    if arguments.overlays:
        require_folder(arguments.overlays)
    paths = list_batches(arguments.batch_root, dataset.name, arguments.split, task.sample_type)
    check_batches(paths, task.sample_type)

    from cmpc_tf2.checkpoints import load_for_inference
    from cmpc_tf2.predictor import TwoStageModel

    kinds = task.model_types.values()
    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, *kinds)
    if arguments.overlays:
        os.makedirs(arguments.overlays, exist_ok=True)

    gallery = []

    def write_overlay(index: int, sample: Sample, prediction: np.ndarray, final_iou: float):
        entry = GalleryEntry(index, f"{index}.png", sample.expression, final_iou)
        caption = f"{sample.expression} (IoU {final_iou:.3f})"
        write_image(arguments.overlays / entry.file, draw_masks(sample.image, [prediction], [caption], sample.mask))
        gallery.append(entry)

    result = evaluate(
        TwoStageModel(model),
        paths,
        dcrf=arguments.dcrf,
        exact_masks=arguments.exact_masks,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        on_prediction=write_overlay if arguments.overlays else None,
        task=task,
    )
    if not result["samples"]:
        raise InputError(f"{paths[0].parent}: every sample was skipped: {result['skipped'][0]['reason']}")
    protocol = "exact masks, without the interpolated rim" if arguments.exact_masks else "original, rim included"
    report = {
        "dataset": dataset.name,
        "split": arguments.split,
        "model": str(arguments.model),
        "protocol": protocol,
        **result,
    }
    print(f"{dataset.name} {arguments.split}: {report['samples']} samples, protocol: {protocol}")
    print(format_scores("Segmentation evaluation (without DenseCRF)", report["plain"]))
    if arguments.dcrf:
        print(format_scores("Segmentation evaluation (with DenseCRF)", report["dcrf"]))
    if arguments.report:
        write_json(arguments.report, report)
    if arguments.overlays:
        write_gallery(arguments.overlays / "index.html", f"{dataset.name} {arguments.split}", gallery)
