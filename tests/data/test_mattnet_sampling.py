"""What MAttNet is trained on."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest

from cmpc_tf2.data.mattnet_sampling import Others, batches_of, draw_batch, draw_sentences
from mattnet_original import read_data, read_golden

DRAWS = 4000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def shares(draw, rng) -> dict[int, float]:
    """How often each result is drawn."""
    counts = collections.Counter(draw(rng) for _ in range(DRAWS))
    return {number: count / DRAWS for number, count in counts.items()}


def assert_shares(found: dict, expected: dict):
    assert found.keys() == expected.keys()
    for number, share in expected.items():
        assert found[number] == pytest.approx(share, abs=0.03), number


def test_boxes_of_the_same_and_of_other_categories(rng):
    """Picture 13: 110 is of category 1, as 111 and 112; there are five others."""
    others = Others.of(read_data(), 110)
    expected = dict.fromkeys((111, 112), 0.3 / 2)
    expected |= dict.fromkeys(range(113, 118), 0.7 / 5)
    assert_shares(shares(others.draw_box, rng), expected)


def test_without_others_of_the_same_category_all_are_different(rng):
    """Picture 11: 103 is the only one of category 3."""
    assert_shares(shares(Others.of(read_data(), 103).draw_box, rng), dict.fromkeys((101, 102, 104), 1 / 3))


def test_a_picture_with_one_box_takes_any_of_the_data_set(rng):
    """Also itself: so the original does it."""
    data = read_data()
    assert_shares(shares(Others.of(data, 118).draw_box, rng), dict.fromkeys(data.boxes, 1 / 18))


def test_a_picture_of_one_category_takes_any_where_it_does_not_take_the_same(rng):
    data = read_data()
    boxes = {number: dataclasses.replace(box, category_id=1) for number, box in data.boxes.items()}
    found = shares(Others.of(dataclasses.replace(data, boxes=boxes), 101).draw_box, rng)
    expected = dict.fromkeys(data.boxes, 0.7 / 18)
    expected |= dict.fromkeys((102, 103, 104), 0.1 + 0.7 / 18)
    assert_shares(found, expected)


def test_sentences_are_of_other_referred_objects(rng):
    """Picture 12: 106 and 108 are referred to and of different categories. 108 has the sentences 7, 8 and 9."""
    assert_shares(shares(Others.of(read_data(), 106).draw_sentence, rng), dict.fromkeys((7, 8, 9), 1 / 3))
    assert_shares(shares(Others.of(read_data(), 108).draw_sentence, rng), {6: 1})


def test_sentences_of_the_same_and_of_another_category(rng):
    """In picture 11, a further reference: 102 is of the category of 101, and 104 of another one."""
    data = read_data()
    further = dataclasses.replace(data.references[1], annotation_id=102, sentence_ids=(12, 13))
    picture = dataclasses.replace(data.pictures[11], reference_ids=(1, 2, 8))
    data = dataclasses.replace(
        data, references={**data.references, 8: further}, pictures={**data.pictures, 11: picture}
    )
    expected = dict.fromkeys((12, 13), 0.3 / 2) | dict.fromkeys((2, 3, 4, 5), 0.7 / 4)
    assert_shares(shares(Others.of(data, 101).draw_sentence, rng), expected)


def test_a_picture_with_one_referred_object_takes_a_sentence_of_any(rng):
    """First a referred object of the data set, then one of its sentences."""
    data = read_data()
    expected = {
        sentence: 1 / 7 / len(reference.sentence_ids)
        for reference in data.references.values()
        for sentence in reference.sentence_ids
    }
    assert_shares(shares(Others.of(data, 118).draw_sentence, rng), expected)


def test_sentences_repeat_only_if_there_are_too_few(rng):
    drawn = [draw_sentences((2, 3, 4, 5), 3, rng) for _ in range(200)]
    assert all(len(set(three)) == 3 for three in drawn)
    assert len(set(map(tuple, drawn))) == 24
    assert {tuple(sorted(draw_sentences((7, 8, 9), 3, rng))) for _ in range(20)} == {(7, 8, 9)}
    assert {tuple(draw_sentences((0, 1), 3, rng)) for _ in range(50)} == {(0, 1, 0), (0, 1, 1)}
    assert draw_sentences((6,), 3, rng) == [6, 6, 6]


def test_a_batch_has_all_referred_objects_of_its_pictures(rng):
    golden, data = read_golden(), read_data()
    batch = draw_batch(data, [11, 12], rng)
    assert batch.boxes == golden["train/0/ref_ann_ids"].tolist()
    assert batch.references == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    for reference, sentence in zip(batch.references, batch.sentences, strict=True):
        assert sentence in data.references[reference].sentence_ids
    for box, other in zip(batch.boxes, batch.other_boxes, strict=True):
        assert other != box and data.boxes[other].image_id == data.boxes[box].image_id
    for reference, other in zip(batch.references, batch.other_sentences, strict=True):
        assert other not in data.references[reference].sentence_ids
    labels = np.stack([data.attribute_labels(reference) for reference in batch.references])
    np.testing.assert_array_equal(labels, golden["train/0/att_labels"])


def test_the_same_seed_draws_the_same():
    draws = [draw_batch(read_data(), [11, 12, 13], np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]


def test_the_originals_draws_follow_these_rules():
    golden, data = read_golden(), read_data()
    for step in range(6):
        ids = (golden[f"train/{step}/{name}"].tolist() for name in ("ref_ann_ids", "neg_ann_ids", "neg_sent_ids"))
        for box, other_box, other_sentence in zip(*ids, strict=True):
            others = Others.of(data, box)
            assert other_box in others.same + others.different
            boxes = {data.references[n].annotation_id for n in data.references
                     if other_sentence in data.references[n].sentence_ids}  # fmt: skip
            assert boxes <= {*others.same, *others.different}


def test_pictures_follow_each_other_without_end():
    assert list(itertools.islice(batches_of([1, 2, 3, 4], 3), 4)) == [[1, 2, 3], [4, 1, 2], [3, 4, 1], [2, 3, 4]]
    assert next(batches_of([1, 2, 3, 4], 3, start=2)) == [3, 4, 1]
    assert next(batches_of([1, 2], 5)) == [1, 2, 1, 2, 1]
