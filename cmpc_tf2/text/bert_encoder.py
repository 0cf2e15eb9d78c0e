"""BERT by itself, as files that training starts from hold it."""

import keras
from keras import ops

from cmpc_tf2.layers.keras_file_model import KerasFileModel
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.bert import Bert
from cmpc_tf2.text.config import BertConfig
from cmpc_tf2.text.vocabulary import MAX_WORDS

# Name of the layer with the weights, here and in the models that start from such a file.
LAYER = "lang_encoder"


@keras.saving.register_keras_serializable(package=PACKAGE)
class BertEncoder(KerasFileModel, keras.Model):
    """BERT without prompts and without a model around it.

    Args:
        config: Sizes.

    Call arguments (a dict):
        token_ids: int32 `(B, T)`.
        token_mask: int32 `(B, T)`, 1 for tokens and 0 for padding.

    Returns:
        Features of the tokens, `(B, T, width)`.
    """

    title = "a BERT language encoder"
    config_type = BertConfig

    def __init__(self, config: BertConfig | dict | None = None, **kwargs):
        if not isinstance(config, BertConfig):
            config = BertConfig(**(config or {}))
        length = min(MAX_WORDS, config.positions)
        inputs = {name: keras.Input((length,), dtype="int32", name=name) for name in ("token_ids", "token_mask")}
        bert = Bert(config, name=LAYER)
        features = bert(inputs["token_ids"], inputs["token_mask"], ops.zeros((1, 0, config.width)))
        super().__init__(inputs=inputs, outputs=features, **kwargs)
        self.config = config

    def get_config(self):
        return {"config": self.config.to_dict(), "name": self.name}
