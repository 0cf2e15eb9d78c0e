"""What training of MAttNet reads: pairs of annotated boxes and sentences, with the features of a fixed detector."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.batches import read_batch
from cmpc_tf2.data.mattnet_sampling import TrainingBatch, batches_of, draw_batch
from cmpc_tf2.data.object_split import read_object_split
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.inference.evaluation import group_by_pixels
from cmpc_tf2.inference.runner import make_runner
from cmpc_tf2.medium import Medium
from cmpc_tf2.models.mattnet.model import MAttNet
from cmpc_tf2.recipes.mattnet import attribute_weights
from cmpc_tf2.tasks.boxes.candidates import chooses_annotation
from cmpc_tf2.text.vocabulary import NoWordsError
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.run_data import dataset_of_steps, require_undivided

# Bytes of features that are kept in memory.
CACHE_BYTES = 2 * 2**30


class PairData:
    """As `run_data.SampleData`, for `MAttNetRecipe`: a batch has all referred objects of some pictures.

    Pictures are taken in the order of the split again and again. Sentences and negatives follow from the seed and the
    step. Features are computed when they are needed; those of the first pictures are kept, as many as memory is set
    aside for. (Pictures come in turns: whatever was used last is needed last.)

    Args: as `SampleData`.

    Attributes:
        epoch_size: Pictures of the split.

    Raises:
        InputError: The split does not fit the model.
    """

    @staticmethod
    def check_options(config: TrainConfig):
        """As `SampleData.check_options`."""
        require_undivided(config, "MAttNet has batches of different sizes")

    def __init__(self, config: TrainConfig, model: MAttNet, paths: list[Path], medium: Medium):
        self._config, self._tokenizer = config, model.make_tokenizer()
        self._runner = make_runner(model)
        self._data = read_object_split(paths, self._tokenizer)
        self._pictures = list(self._data.pictures)
        self.epoch_size = len(self._pictures)
        found, room = len(self._data.attributes), config.model.attributes
        if found > room:
            raise InputError(
                f"{paths[0].parent}: its objects have {found} attributes, but the model has {room}; "
                "give a new model's number of attributes (--sizes)"
            )
        self._weights = np.zeros(room, np.float32)
        if found:
            self._weights[:found] = attribute_weights(self._data.attribute_counts)
        self._cache, self._cached_bytes = {}, 0
        inputs = model.training_form().input
        self._signature = (
            {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()},
            {
                "attributes": tf.TensorSpec((None, room), tf.float32),
                "attribute_weights": tf.TensorSpec((room,), tf.float32),
            },
        )

    def dataset(
        self, start_step: int, input_context=None, on_error: Callable[[InputError], None] | None = None
    ) -> tf.data.Dataset:
        """The endless stream of the inputs and the target of `MAttNetRecipe.losses`; otherwise as `SampleData`."""
        return dataset_of_steps(self._batch, self._signature, start_step, on_error)

    def names_of_step(self, step: int) -> list[str]:
        """Names of the first files of the pictures of a step."""
        return [Path(self._data.pictures[picture].file_name).name for picture in self._pictures_of(step)]

    def validate(self, paths: list[Path]) -> tuple[dict[str, float], list]:
        """The share of expressions for which the right one of the annotated boxes has the best score; no pictures."""
        hits = []
        for group in group_by_pixels((path, read_batch(path, ObjectSample)) for path in paths):
            found = None
            for _, sample in group:
                try:
                    text = self._tokenizer.encode(sample.expression)
                except NoWordsError:
                    continue
                found = found or self._runner.encode_annotated(sample)
                scores = self._runner.scores(found, {name: value[None] for name, value in text.items()})["scores"]
                hits.append(chooses_annotation(scores[0], sample.object))
        if not hits:
            raise InputError(f"{paths[0].parent}: no expression has words")
        return {"val_given_boxes": float(np.mean(hits))}, []

    def _pictures_of(self, step: int) -> list[int]:
        return next(batches_of(self._pictures, self._config.batch_size, step))

    def _batch(self, step: int) -> tuple[dict, dict]:
        """Inputs and target of a step."""
        data = self._data
        drawn = draw_batch(data, self._pictures_of(step), np.random.default_rng([self._config.seed, step]))
        labels = np.zeros((len(drawn.boxes), len(self._weights)), np.float32)
        labels[:, : len(data.attributes)] = [data.attribute_labels(reference) for reference in drawn.references]
        return self._inputs(drawn), {"attributes": labels, "attribute_weights": self._weights}

    def _inputs(self, drawn: TrainingBatch) -> dict[str, np.ndarray]:
        data, of_picture = self._data, {}
        # Boxes are drawn several times: each is given once.
        boxes, rows = np.unique([*drawn.boxes, *drawn.other_boxes, *drawn.boxes], return_inverse=True)
        sentences = [*drawn.sentences, *drawn.sentences, *drawn.other_sentences]
        of_boxes = []
        for number in boxes.tolist():
            picture = data.boxes[number].image_id
            if picture not in of_picture:
                of_picture[picture] = self._features(picture)
            place = data.pictures[picture].annotation_ids.index(number)
            of_boxes.append({name: values[place] for name, values in of_picture[picture].items()})
        inputs = {name: np.stack([features[name] for features in of_boxes])[:, None] for name in of_boxes[0]}
        token_ids = data.token_ids[[data.sentences[number].row for number in sentences]]
        return {**inputs, "rows": rows.astype(np.int32), "token_ids": token_ids}

    def _features(self, picture: int) -> dict[str, np.ndarray]:
        """The inputs of all boxes of a picture."""
        if picture in self._cache:
            return self._cache[picture]
        path = Path(self._data.pictures[picture].file_name)
        sample = read_batch(path, ObjectSample)
        with named(path, "; build the split again"):
            features = self._runner.annotated_inputs(sample)
        size = sum(values.nbytes for values in features.values())
        if self._cached_bytes + size <= CACHE_BYTES:
            self._cache[picture] = features
            self._cached_bytes += size
        return features
