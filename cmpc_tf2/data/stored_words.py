"""Whether the token ids in the files of a split are those of a model's vocabulary."""

from pathlib import Path

from cmpc_tf2.data.batches import Sample, read_batch
from cmpc_tf2.errors import InputError
from cmpc_tf2.text.tokenizer import Tokenizer
from cmpc_tf2.text.vocabulary import NoWordsError

_FILES_CHECKED = 20


def require_same_words(paths: list[Path], tokenizer: Tokenizer, sample_type: type[Sample] = Sample):
    """Checks on the first files of a split that their token ids are those of a vocabulary.

    Otherwise a model would read other words, without an error.

    Args:
        paths: The split's files in order.
        tokenizer: Tokenizer of the model.
        sample_type: Class of the samples.

    Raises:
        InputError: They are not.
    """
    for path in paths[:_FILES_CHECKED]:
        sample = read_batch(path, sample_type)
        try:
            expected = tokenizer.encode(sample.expression)["token_ids"]
        except NoWordsError:
            continue
        if expected.shape == sample.token_ids.shape and (expected != sample.token_ids).any():
            raise InputError(
                f"{path}: its token ids for {sample.expression!r} are not those of the model's vocabulary; build the "
                "split again with the vocabulary of the model (--vocabulary MODEL.keras --overwrite)"
            )
