import collections
import dataclasses
import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.data.batches import Sample, write_batch
from cmpc_tf2.data.pipeline import (
    read_samples_per_reference,
    read_train_sample,
    require_resizing,
    samples_of_step,
    training_dataset,
)
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import write_json
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from small import subtract_mean

COUNT = 10
SIDE = 16
PREPROCESSING = Preprocessing(SIDE)
# The ten files as the expressions of four objects.
GROUP_SIZES = [3, 1, 4, 2]
GROUPS = np.repeat(range(4), GROUP_SIZES)


@pytest.fixture(scope="module")
def samples():
    """Ten samples, numbered by their last token."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(COUNT):
        image = rng.integers(0, 256, size=(SIDE, SIDE, 3), dtype=np.uint8)
        made.append(Sample(np.array([0] * 18 + [5, number + 1]), image, image[..., 0] > 100, "red man"))
    return made


@pytest.fixture(scope="module")
def paths(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches") / "unc" / "train_batch"
    folder.mkdir(parents=True)
    made = [folder / f"unc_train_{number}.npz" for number in range(COUNT)]
    for path, sample in zip(made, samples, strict=True):
        write_batch(path, sample)
    return made


def numbers(dataset, steps: int) -> list[list[int]]:
    """Which samples are in each of the first batches."""
    return [(inputs["token_ids"][:, -1].numpy() - 1).tolist() for inputs, _ in dataset.take(steps)]


def test_contents(paths, samples):
    dataset = training_dataset(paths, 4, preprocessing=PREPROCESSING)
    inputs, mask = next(iter(dataset))
    assert inputs["image"].dtype == tf.float32 and inputs["image"].shape == (4, SIDE, SIDE, 3)
    assert inputs["token_ids"].dtype == tf.int32 and inputs["token_ids"].shape == (4, 20)
    assert mask.dtype == tf.float32 and mask.shape == (4, SIDE, SIDE, 1)
    assert dataset.element_spec[0]["image"].shape == (4, SIDE, SIDE, 3)  # Fixed, also for XLA.
    for row in range(4):
        sample = samples[int(inputs["token_ids"][row, -1]) - 1]
        np.testing.assert_allclose(inputs["image"][row], subtract_mean(sample.image), rtol=1e-6)
        np.testing.assert_array_equal(mask[row, ..., 0], sample.mask)
        np.testing.assert_array_equal(inputs["token_ids"][row], sample.token_ids)


def test_every_epoch_is_another_permutation_of_all_files(paths):
    epochs = np.reshape(numbers(training_dataset(paths, 5, preprocessing=PREPROCESSING), 6), (3, COUNT)).tolist()
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(COUNT))


@pytest.mark.parametrize("seed", [0, 7])
def test_the_order_of_files_is_a_stateless_shuffle(seed):
    """It must not change: runs resume in the middle of it."""
    shuffles = [tf.random.experimental.stateless_shuffle(tf.range(COUNT), [seed, epoch]) for epoch in range(3)]
    assert samples_of_step([1] * COUNT, 3 * COUNT, seed, 0) == np.concatenate(shuffles).tolist()


def test_an_epoch_takes_one_file_of_each_group():
    """Each as often as the others of its group, wherever in the epoch the group is: within 4 standard deviations."""
    count = 2400
    epochs = np.reshape(samples_of_step(GROUP_SIZES, 4 * count, 0, 0), (count, 4))
    assert (np.sort(GROUPS[epochs], axis=1) == range(4)).all()
    for number, group in enumerate(GROUPS):
        expected = count / GROUP_SIZES[group] / 4
        for place in range(4):
            assert abs((epochs[:, place] == number).sum() - expected) < 4 * expected**0.5


def test_batches_go_over_the_end_of_an_epoch(paths):
    stream = numbers(training_dataset(paths, 4, preprocessing=PREPROCESSING), 10)
    assert collections.Counter(itertools.chain.from_iterable(stream)) == dict.fromkeys(range(COUNT), 4)


def test_the_order_follows_from_the_seed(paths):
    one, same, other = (numbers(training_dataset(paths, 4, seed=s, preprocessing=PREPROCESSING), 8) for s in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("start", [1, 2, 5, 7, 23])
@pytest.mark.parametrize("batch_size, group_sizes", [(4, None), (3, GROUP_SIZES)])
def test_the_stream_resumes_at_any_step(batch_size, group_sizes, start, paths):
    make = functools.partial(training_dataset, paths, batch_size, PREPROCESSING, seed=3, group_sizes=group_sizes)
    assert numbers(make(start_step=start), 5) == numbers(make(), 30)[start : start + 5]


@pytest.mark.parametrize("group_sizes", [None, GROUP_SIZES])
@pytest.mark.parametrize("devices", [1, 2])
def test_workers_share_every_global_batch(devices, group_sizes, paths):
    """Two workers, each with some devices; a worker takes an element for each of them."""
    make = functools.partial(training_dataset, paths, 4, PREPROCESSING, group_sizes=group_sizes)
    whole = numbers(make(), 8)
    contexts = [tf.distribute.InputContext(2, worker, 2 * devices) for worker in range(2)]
    elements = [numbers(make(input_context=context), 8 * devices) for context in contexts]
    assert all(len(element) == 2 // devices for share in elements for element in share)
    for step, batch in enumerate(whole):
        taken = [share[step * devices : (step + 1) * devices] for share in elements]
        assert sorted(n for worker in taken for element in worker for n in element) == sorted(batch)


def test_under_a_distribution_strategy(paths):
    strategy = tf.distribute.get_strategy()
    distributed = strategy.distribute_datasets_from_function(
        lambda context: training_dataset(paths, 4, preprocessing=PREPROCESSING, input_context=context)
    )
    inputs, _ = next(iter(distributed))
    assert inputs["image"].shape == (4, SIDE, SIDE, 3)


@pytest.mark.parametrize("content, words", [(b"not an npz", "not a readable .npz file"), (None, "no such batch")])
def test_a_bad_file_names_itself(content, words, paths, tmp_path):
    bad = tmp_path / "unc_train_10.npz"
    if content:
        bad.write_bytes(content)
    with pytest.raises(tf.errors.InvalidArgumentError) as failure:
        numbers(training_dataset([*paths, bad], 11, preprocessing=PREPROCESSING), 1)
    assert f"{bad}: {words}" in str(failure.value)


def test_files_of_another_size_are_reported(paths):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"unc_train_\d.npz: not of a train split of 320 x 320"):
        numbers(training_dataset(paths, 2, Preprocessing(320)), 1)


def test_stretched_splits_go_with_models_that_stretch(paths, tmp_path):
    """The message gives the command that builds the right files."""
    stretching = Preprocessing(448, "stretch")
    options = "-d unc -t train --image-size 448 --resizing stretch --output-root .* --overwrite`"
    with pytest.raises(InputError, match=f"not of a train split of 448 x 448.*build_batches {options}"):
        read_train_sample(paths[0], stretching)
    require_resizing(tmp_path, PREPROCESSING)
    with pytest.raises(InputError, match="the resizing of its pictures is 'fit', but the model needs 'stretch'; build"):
        require_resizing(tmp_path, stretching)
    manifest = {"samples": COUNT, "settings": {"train_size": SIDE, "resizing": "stretch"}, "sources": []}
    write_json(tmp_path / "manifest.json", manifest)
    require_resizing(tmp_path, stretching)
    with pytest.raises(InputError, match=r"is 'stretch', but the model needs 'fit'; .* --image-size 16 .*--overwrite`"):
        require_resizing(tmp_path, PREPROCESSING)


@pytest.mark.parametrize(
    "folder, command",
    [
        ("unc/train_batch", "python -m cmpc_tf2 build_batches -d unc -t train --image-size 16 --overwrite"),
        (
            "my root/mine/train_small_batch",
            "python -m cmpc_tf2 build_batches --annotations FILE --image-root FOLDER -d mine -t train_small "
            "--image-size 16 --output-root 'my root' --overwrite",
        ),
    ],
)
def test_messages_name_the_command_that_builds_the_split_again(folder, command, tmp_path, monkeypatch):
    """Own data has another one, and a split elsewhere stays there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as failure:
        read_samples_per_reference(Path(folder), PREPROCESSING)
    assert f"; build it again with `{command}`" in str(failure.value)


def test_the_samples_of_each_reference_come_from_the_manifest(tmp_path):
    """Splits of the original have no manifest, and those of earlier versions do not record them."""
    words = "no manifest.json there records the objects; .* --image-size 16 .*--overwrite`"
    with pytest.raises(InputError, match=words):
        read_samples_per_reference(tmp_path, PREPROCESSING)
    manifest = {"samples": COUNT, "settings": {"train_size": SIDE}, "sources": []}
    write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(InputError, match=words):
        read_samples_per_reference(tmp_path, PREPROCESSING)
    write_json(tmp_path / "manifest.json", {**manifest, "samples_per_reference": [0, *GROUP_SIZES, 0]})
    assert read_samples_per_reference(tmp_path, PREPROCESSING) == GROUP_SIZES


def test_sentences_are_tokenized_anew_for_another_tokenizer(paths):
    """The stored ids are of other words: they may be larger than the vocabulary."""
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, "red", "man"], 20)
    dataset = training_dataset(paths, 2, PREPROCESSING, vocabulary_size=7, tokenizer=tokenizer)
    inputs, _ = next(iter(dataset))
    assert inputs["token_ids"].numpy().tolist() == [[2, 5, 6, 3] + [0] * 16] * 2
    assert inputs["token_mask"].numpy().tolist() == [[1] * 4 + [0] * 16] * 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="token ids do not fit the model, which has 7 words"):
        numbers(training_dataset(paths, COUNT, PREPROCESSING, vocabulary_size=7), 1)


def test_a_sentence_without_words_names_its_file(paths, samples, tmp_path):
    """An accent alone is a word for CMPC, and the file can be built."""
    path, problems = tmp_path / "accent.npz", []
    write_batch(path, dataclasses.replace(samples[0], expression="\u0301"))
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, "red", "man"], 20)
    dataset = training_dataset([path, paths[0]], 2, PREPROCESSING, tokenizer=tokenizer, on_error=problems.append)
    with pytest.raises(tf.errors.InvalidArgumentError):
        next(iter(dataset))
    message = f"{path}: expression '\u0301': has no words; remove it from the annotations and build the split again"
    assert str(problems[0]) == message


def test_wrong_arguments():
    with pytest.raises(InputError, match="no files"):
        training_dataset([], 1, PREPROCESSING)
    for batch_size, workers in ((0, 1), (3, 2)):
        with pytest.raises(InputError, match=f"a multiple of the {workers} devices"):
            training_dataset(
                ["a"], batch_size, PREPROCESSING, input_context=tf.distribute.InputContext(workers, 0, workers)
            )
