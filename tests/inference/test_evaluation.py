"""Scores of a split, by the protocol of the original."""

import dataclasses

import numpy as np
import pytest

from cmpc_tf2.data.batches import Sample, batch_path, read_batch, write_batch
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.inference.evaluation import evaluate
from cmpc_tf2.inference.runner import ModelRunner, Runner
from cmpc_tf2.models.maskris.model import MaskRIS
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.masks.protocol import protocol_of
from cmpc_tf2.text.tokenizers import TOKENIZERS, WordTokenizer
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from small import SMALL, WORDS


def test_an_image_is_encoded_once(small_model, tmp_path, rng):
    """Consecutive samples of one image share its encoding."""

    class Counting(ModelRunner):
        encoded = 0

        def encode(self, images):
            self.encoded += len(images)
            return super().encode(images)

    first, second = rng.integers(0, 256, size=(2, 40, 60, 3), dtype=np.uint8)
    model = Counting(small_model)
    paths = write_split(tmp_path, *(make_sample(image) for image in (first, first, first, second)))
    evaluate(model, paths, batch_size=2)
    assert model.encoded == 2


class FixedLogits(Runner):
    """A stand-in for a model that always gives the same logits."""

    config = SMALL
    preprocessing = Preprocessing(SMALL.image_size)
    tokenizer_type = WordTokenizer
    vocabulary = None
    protocol_name = "rim"

    def __init__(self, logits):
        self.logits = logits

    def encode(self, images):
        return {"visual": images}

    def decode(self, features, text):
        return np.repeat(self.logits[None], len(text["token_ids"]), axis=0)


def make_sample(image=None, mask=None) -> Sample:
    if image is None:
        image = np.zeros((*mask.shape, 3), np.uint8)
    if mask is None:
        mask = image[..., 0] > 100
    return Sample(Vocabulary(WORDS).encode("man"), image, mask, "man")


def write_split(tmp_path, *samples: Sample) -> list:
    paths = [batch_path(tmp_path, "unc", "val", number) for number in range(len(samples))]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, sample in zip(paths, samples, strict=True):
        write_batch(path, sample)
    return paths


def test_the_interpolated_rim_counts_unless_exact_masks_are_requested(tmp_path):
    """A 16 x 16 block of the 32 x 32 prediction, at twice the size: 32 x 32 exactly, and a rim of one pixel."""
    logits = np.full((32, 32), -1.0, np.float32)
    logits[8:24, 8:24] = 1
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    paths = write_split(tmp_path, make_sample(mask=mask))
    record = evaluate(FixedLogits(logits), paths)["per_sample"][0]
    assert (record["intersection"], record["union"]) == (32 * 32, 34 * 34)
    record = evaluate(FixedLogits(logits), paths, protocol=protocol_of("rim", exact_masks=True))["per_sample"][0]
    assert (record["intersection"], record["union"]) == (32 * 32, 32 * 32)


class StretchedLogits(FixedLogits):
    """As MaskRIS: its pictures are stretched, its sentences cut in pieces."""

    preprocessing = Preprocessing(SMALL.image_size, **MaskRIS.preprocessing_options)
    tokenizer_type = TOKENIZERS[MaskRIS.tokenizer_name]
    protocol_name = MaskRIS.protocol_name

    def make_tokenizer(self):
        return WordPieceTokenizer([*SPECIAL_TOKENS, "man"], 20)


def test_a_model_is_scored_at_its_size_and_at_the_pictures(tmp_path):
    """A column more than half of a wide picture, which the resized ground truth does not show."""
    logits = np.full((32, 32), -1.0, np.float32)
    logits[:, :16] = 1
    logits[:, 20] = 0  # A tie is background.
    mask = np.zeros((40, 90), bool)
    mask[:, :46] = True
    drawn = []
    result = evaluate(
        StretchedLogits(logits),
        write_split(tmp_path, make_sample(mask=mask)),
        on_prediction=lambda *found: drawn.append(found),
    )
    (record,), ((_, _, final, score),) = result["per_sample"], drawn
    assert (record["intersection"], record["union"]) == (32 * 16, 32 * 16)
    assert (record["own_size_intersection"], record["own_size_union"]) == (40 * 45, 40 * 46)
    assert final.shape == (40, 90) and final[:, :45].all() and not final[:, 45:].any()
    assert result["plain"]["overall_iou"] == 1 and result["dcrf"] is None
    assert result["own_size"]["overall_iou"] == score == 45 / 46


def test_truncated_expressions_are_reported(tmp_path, caplog):
    """Between [CLS] and the end there is room for 19 pieces; a sentence of 19 loses only its [SEP]."""
    samples = [make_sample(mask=np.ones((32, 32), bool)) for _ in range(3)]
    samples = [dataclasses.replace(one, expression="man " * n) for one, n in zip(samples, (19, 20, 1), strict=True)]
    result = evaluate(StretchedLogits(np.ones((32, 32), np.float32)), write_split(tmp_path, *samples))
    assert result["samples"] == 3 and result["truncated"] == [1]
    assert "1 of 3 expressions are longer than the model reads" in caplog.text


def test_dcrf_refines_the_mask_of_the_pictures_own_size(tmp_path):
    pytest.importorskip("pydensecrf")
    mask = np.zeros((40, 90), bool)
    mask[:, :45] = True
    logits = np.where(np.arange(32) < 16, 3.0, -3.0) * np.ones((32, 1))
    model = StretchedLogits(logits.astype(np.float32))
    sample = read_batch(*write_split(tmp_path, make_sample(mask=mask)))
    masks, record = protocol_of("resized").score(sample, model.logits, model.preprocessing, dcrf=True)
    assert masks["dcrf"].shape == mask.shape
    assert record["dcrf_union"] == (masks["dcrf"] | mask).sum() and {"own_size_union", "union"} < record.keys()


def test_there_must_be_a_rim_to_leave_out():
    with pytest.raises(UsageError, match="--exact-masks: the protocol of this model counts no rim"):
        protocol_of("resized", exact_masks=True)


def test_the_threshold_is_on_logits(tmp_path):
    paths = write_split(tmp_path, make_sample(mask=np.ones((32, 32), bool)))
    for logit, pixels in ((0.0, 0), (1e-10, 0), (2e-9, 1024)):
        logits = np.full((32, 32), logit, np.float32)
        assert evaluate(FixedLogits(logits), paths)["per_sample"][0]["intersection"] == pixels


def test_empty_truth_and_empty_prediction(tmp_path):
    paths = write_split(tmp_path, make_sample(mask=np.zeros((32, 32), bool)))
    result = evaluate(FixedLogits(np.full((32, 32), -1.0, np.float32)), paths)
    assert result["per_sample"][0]["union"] == 0
    assert result["plain"]["mean_iou"] == 1


class OtherWords(FixedLogits):
    """Knows the same words in another order."""

    vocabulary = (*WORDS[:4], *reversed(WORDS[4:]))

    def make_tokenizer(self):
        return WordTokenizer(list(self.vocabulary), 20)


def test_token_ids_of_another_vocabulary_are_refused(tmp_path):
    sample = make_sample(mask=np.ones((8, 8), bool))
    paths, logits = write_split(tmp_path, sample), np.zeros((32, 32), np.float32)
    with pytest.raises(
        InputError, match=r"val_0\.npz: its token ids for 'man' are not those of the model's vocabulary"
    ):
        evaluate(OtherWords(logits), paths)
    write_batch(paths[0], Sample(np.full(20, SMALL.vocabulary_size), sample.image, sample.mask, "man"))
    with pytest.raises(InputError, match=r"val_0\.npz: token ids do not fit the model"):
        evaluate(FixedLogits(logits), paths)
