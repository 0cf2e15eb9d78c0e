"""The prepared data sets of MAttNet, and the files beside its models."""

import copy
import json

import h5py
import pytest

from cmpc_tf2.data.mattnet_files import read_prepared
from cmpc_tf2.errors import InputError
from mattnet_original import DATA, read_data, read_golden


@pytest.fixture(scope="module")
def content():
    return json.loads(DATA.read_text())


@pytest.fixture
def write(tmp_path):
    def write(content, name: str = "data.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return write


@pytest.fixture
def write_labels(tmp_path):
    def write_labels(labels, name: str = "labels"):
        with h5py.File(tmp_path / "data.h5", "w") as file:
            file[name] = labels
        return tmp_path / "data.h5"

    return write_labels


def assert_refused(path, *words: str, labels=None):
    with pytest.raises(InputError) as failure:
        read_prepared(path, labels)
    message = str(failure.value)
    for expected in words:
        assert expected in message
    assert "\n" not in message


def test_a_data_set(write_labels):
    data = read_prepared(DATA, write_labels(read_golden()["labels"]))
    assert list(data.pictures) == [11, 12, 13, 14] and len(data.boxes) == 18
    assert data.pictures_of("train") == [11, 12] and data.pictures_of("val") == [13, 14]
    assert data.pictures_of("testA") == []
    assert (data.pictures[12].height, data.pictures[12].width) == (240, 160)
    assert data.boxes[101].box == (10.5, 20.25, 60.0, 90.5) and data.boxes[101].row == 0
    assert data.references[4].attributes == ("att2", "att5", "att6")
    assert data.attribute_labels(4).tolist() == [0, 0, 1, 0, 0, 1, 1] and not data.attribute_labels(6).any()
    assert data.attribute_counts.tolist() == [900, 450, 300, 77, 40, 12, 5]
    assert data.words[:3] == ["w0", "w1", "w2"] and data.categories[9] == "c9" and data.max_words == 10
    for sentence in data.sentences.values():
        ids = data.token_ids[sentence.row]
        assert [data.words[number] for number in ids if number] == list(sentence.tokens)


def test_token_ids_can_be_left_out():
    assert read_data().token_ids is None


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c.pop("anns"), ["data.json", "expected a list for anns, which is missing"]),
        (lambda c: c.update(refs={}), ["expected a list for refs, found an object"]),
        (lambda c: c.update(images=[]), ["images: is empty"]),
        (lambda c: c["anns"][1].update(ann_id=101), ["anns, entry 1: has the ann_id 101 of another entry"]),
        (lambda c: c["anns"][2].update(box=[1, 2, 3]), ["anns, entry 2: expected a box of four numbers"]),
        (lambda c: c["anns"][2].update(box=[1, 2, 0, 4]), ["anns, entry 2", "with a width and height above 0"]),
        (lambda c: c["anns"][2].update(box=[1, 2, float("nan"), 4]), ["anns, entry 2: expected a box"]),
        (lambda c: c["anns"][2].update(box=[1, 2, "3", 4]), ["anns, entry 2: expected a box"]),
        (lambda c: c["anns"][2].update(h5_id=-1), ["expected at least 0 for h5_id, found -1"]),
        (lambda c: c["anns"][2].update(image_id=99), ["ann 103: image_id names the id 99, which does not exist"]),
        (lambda c: c["images"][0].update(width=0), ["images, entry 0: expected at least 1 for width, found 0"]),
        (lambda c: c["images"][0].update(ref_ids=[]), ["images, entry 0: ref_ids: is empty"]),
        (lambda c: c["images"][0].update(ann_ids=[7]), ["image 11: ann_ids names the id 7"]),
        (lambda c: c["images"][0].update(ref_ids=[70]), ["image 11: ref_ids names the id 70"]),
        (lambda c: c["refs"][0].update(ann_id=110), ["ref 1: ann_id names the id 110"]),
        (lambda c: c["refs"][0].update(image_id=99), ["ref 1: image_id names the id 99"]),
        (lambda c: c["refs"][0].update(sent_ids=[50]), ["ref 1: sent_ids names the id 50"]),
        (lambda c: c["refs"][0].update(att_wds=["red"]), ["ref 1: att_wds has 'red', which att_to_ix lacks"]),
        (lambda c: c["refs"][0].update(split=3), ["refs, entry 0: expected text for split, found 3"]),
        (lambda c: c["sentences"].append([]), ["sentences, entry 14: expected an object for the entry, found a list"]),
        (lambda c: c["word_to_ix"].update(w3=4), ["word_to_ix: expected the numbers 1 to 50, each once"]),
        (lambda c: c["att_to_ix"].update(att3=4), ["att_to_ix: expected the numbers 0 to 6, each once"]),
        (lambda c: c.update(word_to_ix={}), ["word_to_ix: is empty"]),
        (lambda c: c["word_to_ix"].update(w3="3"), ["expected a whole number for word_to_ix of 'w3', found '3'"]),
        (lambda c: c["att_to_cnt"].pop("att2"), ["att_to_cnt: expected a count for 'att2'"]),
        (lambda c: c["att_to_cnt"].update(att2=0), ["expected at least 1 for the count of 'att2', found 0"]),
        (lambda c: c.update(label_length=0), ["expected at least 1 for label_length, found 0"]),
        (lambda c: c["cat_to_ix"].update(c1=1.5), ["expected a whole number for cat_to_ix of 'c1', found 1.5"]),
    ],
)
def test_damaged_entries(change, words, content, write):
    content = copy.deepcopy(content)
    change(content)
    assert_refused(write(content), *words)


def test_files_of_other_kinds(write, tmp_path):
    assert_refused(write("{"), "data.json: expected a data set", "not readable JSON")
    assert_refused(write("[]"), "expected an object for the file, found a list")
    assert_refused(tmp_path / "absent.json", "absent.json")


def test_labels(write_labels, tmp_path):
    labels = read_golden()["labels"]
    assert_refused(DATA, "data.h5: no such file", labels=tmp_path / "data.h5")
    (tmp_path / "data.h5").write_bytes(b"nothing")
    assert_refused(DATA, "data.h5: expected an HDF5 file with `labels`", labels=tmp_path / "data.h5")
    assert_refused(DATA, "expected an HDF5 file", labels=write_labels(labels, "others"))
    expected = "expected whole numbers [14, 10] as `labels`, found int32 [14, 9]"
    assert_refused(DATA, expected, labels=write_labels(labels[:, :9]))
    assert_refused(DATA, "found float64 [14, 10]", labels=write_labels(labels.astype("f8")))
    for value, place, words in (
        (50, (0, 0), "expected token ids from 0 to 49"),
        (-1, (0, 0), "expected token ids from 0 to 49"),
        (0, (0, 0), "expected a word in every row, and zeros behind the words only"),
        (3, (13, 7), "zeros behind the words only"),
    ):
        changed = labels.copy()
        changed[place] = value
        assert_refused(DATA, f"labels: {words}" if "expected" in words else words, labels=write_labels(changed))


def test_a_sentence_without_a_row(content, write, write_labels):
    content = copy.deepcopy(content)
    content["sentences"][3]["h5_id"] = 14
    path, labels = write(content), write_labels(read_golden()["labels"])
    assert_refused(path, "has 14 rows, but a sentence has the h5_id 14", labels=labels)
