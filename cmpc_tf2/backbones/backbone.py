"""The interface of all backbones."""

from typing import ClassVar

import keras

from cmpc_tf2.layers.keras_file_model import KerasFileModel


class Backbone(KerasFileModel, keras.Model):
    """A functional model from pictures, `(B, H, W, 3)`, to a dict of feature maps by level.

    A subclass also has what Keras needs to save it (`get_config`, its registration), `title` for messages, and sizes
    with `to_dict`. A model uses it by building it in `ReferringModel.build_image_encoder`, as `DeepLabModel` does;
    `docs/adding_a_model.md` lists the steps.

    Attributes:
        config: Sizes. Its `levels` names the maps from fine to coarse, and `channels(level)` gives the width of a map.
    """

    # Name of such a backbone in messages.
    title: str
    config_type: ClassVar[type]

    def inference_form(self, image_size: int | None = None) -> "Backbone":
        """A faster copy that computes the same function, if there is one; not to be trained.

        Args:
            image_size: Side of the pictures, if all are square and of one size.
        """
        return self

    def finetuned_variables(self) -> list[keras.Variable]:
        """The variables that fine-tuning trains; all others stay as they are in every training run."""
        raise NotImplementedError
