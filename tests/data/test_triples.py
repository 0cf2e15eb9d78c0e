"""Lists of pictures, masks and expressions as a stream."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import build_batches
import cmpc_tf2
from cmpc_tf2.data.batches import list_batches
from cmpc_tf2.data.pipeline import training_dataset
from cmpc_tf2.errors import InputError
from cmpc_tf2.models.cmpc.model import CMPC
from own_data import write_rows
from small import WORDS

EXPRESSIONS = ["the red circle", "man", "left of the blue square", "red man", "unheard words"]


@pytest.fixture(scope="module")
def triples(tmp_path_factory):
    """Pictures and masks of several sizes: a folder, arrays and files."""
    root, rng = tmp_path_factory.mktemp("triples"), np.random.default_rng(0)
    images, masks, image_files, mask_files = [], [], [], []
    for number, (height, width) in enumerate([(40, 60), (50, 30), (32, 32), (20, 90), (64, 64)]):
        images.append(rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8))
        masks.append(np.zeros((height, width), bool))
        masks[-1][5:15, 8 : 20 + number] = True
        image_files.append(root / f"{number}.png")
        mask_files.append(str(root / f"{number}_mask.png"))
        Image.fromarray(images[-1]).save(image_files[-1])
        Image.fromarray(masks[-1]).save(mask_files[-1])
    return root, images, masks, image_files, mask_files


@pytest.mark.parametrize("name", ["small_model", "small_maskris"])
def test_the_arrays_are_those_of_training(name, triples, request, tmp_path):
    model = request.getfixturevalue(name)
    root, images, masks, image_files, mask_files = triples
    rows = [
        {"image": path.name, "expression": expression, "mask": mask}
        for path, mask, expression in zip(image_files, mask_files, EXPRESSIONS, strict=True)
    ]
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    preprocessing = model.preprocessing
    options = [
        "--image-size",
        str(preprocessing.size),
        "--resizing",
        preprocessing.resizing,
        "-d",
        "mine",
        "-t",
        "train",
    ]
    options += ["--annotations", str(write_rows(tmp_path / "my.jsonl", rows)), "--image-root", str(root)]
    options += ["--vocabulary", str(tmp_path / "words.txt"), "--output-root", str(tmp_path)]
    assert build_batches.main(options) == 0
    tokenizer = None if model.tokenizer_type.reads_stored_ids else model.make_tokenizer()
    expected = [
        next(iter(training_dataset([path], 1, preprocessing, tokenizer=tokenizer)))
        for path in list_batches(tmp_path, "mine", "train")
    ]
    mixed = [*images[:2], *image_files[2:]], [*mask_files[:3], *masks[3:]]
    for pictures, objects in ((images, masks), (image_files, mask_files), mixed):
        dataset = cmpc_tf2.dataset_from(pictures, objects, EXPRESSIONS, model, batch_size=2, shuffle=False)
        assert dataset.cardinality() == 3
        assert set(dataset.element_spec[0]) == set(model.input)
        batches = list(dataset)
        assert [len(mask) for _, mask in batches] == [2, 2, 1]
        for key in expected[0][0]:
            found = np.concatenate([inputs[key] for inputs, _ in batches])
            np.testing.assert_array_equal(found, np.concatenate([inputs[key] for inputs, _ in expected]), err_msg=key)
        found = np.concatenate([mask for _, mask in batches])
        np.testing.assert_array_equal(found, np.concatenate([mask for _, mask in expected]))
        assert found.dtype == np.float32 and 0 < found.mean() < 1


def test_every_epoch_has_all_samples_in_an_order_of_its_own(small_model, triples):
    _, images, masks, *_ = triples

    def orders():
        keras.utils.set_random_seed(3)
        dataset = cmpc_tf2.dataset_from(images, masks, EXPRESSIONS, small_model, batch_size=5)
        return [[tuple(ids) for ids in next(iter(dataset))[0]["token_ids"].numpy()] for _ in range(4)]

    first = orders()
    assert len({tuple(order) for order in first}) > 1
    assert len({tuple(sorted(order)) for order in first}) == 1 and len(set(first[0])) == 5
    assert orders() == first


def one(**changes) -> dict:
    arguments = {"images": [np.zeros((4, 5, 3), np.uint8)], "masks": [np.ones((4, 5), bool)], "expressions": ["man"]}
    return {**arguments, **changes}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (one(masks=[]), "expected as many images as masks and expressions, at least one; received 1, 0 and 1"),
        (one(images=[], masks=[], expressions=[]), "at least one; received 0, 0 and 0"),
        (one(images=[np.zeros((4, 5, 3))]), r"images\[0\]: expected uint8 \(h, w, 3\), found float64 \(4, 5, 3\)"),
        (one(images=[np.zeros((4, 5), np.uint8)]), r"images\[0\]: expected uint8 \(h, w, 3\), found uint8 \(4, 5\)"),
        (one(images=[3]), r"images\[0\]: expected the name of a file or an array, received int"),
        (one(masks=[None]), r"masks\[0\]: expected the name of a file or an array, received NoneType"),
        (one(masks=[np.ones((4, 5), int)]), r"masks\[0\]: expected bool \(h, w\), found int64 \(4, 5\)"),
        (one(masks=[np.ones((5, 4), bool)]), r"masks\[0\]: expected bool \(4, 5\) as its image, found bool \(5, 4\)"),
        (one(images=["none.png"]), r"images\[0\]: no such file: none\.png"),
        (one(masks=["none.png"]), r"masks\[0\]: no such file: none\.png"),
        (one(expressions=[b"man"]), r"expressions\[0\]: expected text, received bytes"),
        (one(expressions=["."]), r"expressions\[0\]: expression '\.': has no words"),
        (one(batch_size=0), "batch size: expected at least 1, received 0"),
    ],
)
def test_wrong_arguments(arguments, words, small_model):
    with pytest.raises(InputError, match=words):
        cmpc_tf2.dataset_from(**arguments, model=small_model)


def test_models_of_clips_or_without_a_vocabulary_are_refused(small_model):
    with pytest.raises(InputError, match="the model holds no vocabulary"):
        cmpc_tf2.dataset_from(**one(), model=CMPC(small_model.config))
    with pytest.raises(InputError, match="model: expected one of pictures, received CMPC-V, whose input is clip"):
        cmpc_tf2.dataset_from(**one(), model=type("Clips", (), {"title": "CMPC-V", "input_name": "clip"}))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"images": ["broken.png"]}, r"broken\.png: not a readable image"),
        ({"images": ["small.png"]}, r"masks\[0\]: expected bool \(2, 3\) as its image, found bool \(4, 5\)"),
        ({"masks": ["small.png"]}, r"small\.png: expected bool \(4, 5\) as its image, found bool \(2, 3\)"),
    ],
)
def test_unusable_files_are_named_while_iterating(changes, words, small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (3, 2)).save("small.png")
    (tmp_path / "broken.png").write_bytes(b"none")
    dataset = cmpc_tf2.dataset_from(**one(**changes), model=small_model)
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        next(iter(dataset))
