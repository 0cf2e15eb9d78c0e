"""A sentence as filters over the feature map, whose responses weight the map."""

import keras
from keras import layers, ops

from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.phrases import dense

# Filters of the variants with regions; that of the variant `baseline` is one.
REGIONS = 7


def region_masks(height, width, dtype: str = "float32"):
    """Where each filter looks: everywhere, above, below, left, right, in the middle rows, in the middle columns.

    Args:
        height: Rows of the map, a number or a scalar tensor.
        width: Columns of the map, as `height`.
        dtype: Of the masks.

    Returns:
        `(h, w, 7)`, 1 inside a region and 0 outside.
    """
    rows, columns = ops.arange(height)[:, None], ops.arange(width)[None]
    everywhere = (rows >= 0) & (columns >= 0)
    regions = [
        everywhere,
        rows < height // 2,
        rows >= height // 2,
        columns < width // 2,
        columns >= width // 2,
        (rows >= height // 4) & (rows < 3 * height // 4),
        (columns >= width // 4) & (columns < 3 * width // 4),
    ]
    return ops.cast(ops.stack([region & everywhere for region in regions], axis=-1), dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SentenceFilters(layers.Layer):
    """Weights a feature map by its responses to filters that are made of a sentence.

        f_i = tanh(dynamic_fc_i(hidden))
        r_i = region_i * (F . f_i)
        R = sum_i g_i r_i    with    g = tanh(response_fc(hidden))

    The weighted map is `F sigmoid(R)` in the variant `response` and `F R` in `spatial`. The variant `baseline` has one
    filter, `dynamic_fc`, and `F r_0`; raw responses may make a map negative.

    All products with the map are one matrix product. Every sentence has its own filters.

    Source: `_predict` in `lib/nets/network_7f_response.py`, `network_7f.py` and `network_1f.py` of wenz116/lang2seg
    (commit 3af9a47). Differs from the original: any number of sentences; the original applies the filters of the first
    one of a batch to all. Tested by `tests/models/test_cac_parts.py`.

    Args:
        variant: `baseline`, `spatial` or `response`.

    Call arguments:
        features: The map, `(S, h, w, C)`; a batch size of 1 serves all sentences.
        hidden: `(S, D)`, one vector per sentence.

    Returns:
        A dict:
            weighted: The map as the sentence weights it, `(S, h, w, C)`.
            response: R, `(S, h, w)`, logits in the variant `response`.
            responses: `(S, h, w, K)`, r_i, of 1 or 7 filters.
            filters: `(S, K, C)`, f_i.
            response_filter: `(S, K)`, g; ones in `baseline`.
    """

    def __init__(self, variant: str, **kwargs):
        super().__init__(**kwargs)
        self.variant = variant

    def build(self, features_shape, hidden_shape=None):
        names = ["dynamic_fc"] if self.variant == "baseline" else [f"dynamic_fc_{index}" for index in range(REGIONS)]
        self.dynamic_fc = [self._dense(features_shape[-1], hidden_shape[-1], name) for name in names]
        self.response_fc = None
        if self.variant != "baseline":
            self.response_fc = self._dense(REGIONS, hidden_shape[-1], "response_fc")

    def _dense(self, units: int, inputs: int, name: str) -> layers.Dense:
        layer = dense(units, inputs, name, activation="tanh", dtype=self.dtype_policy)
        layer.build((None, inputs))
        return layer

    def call(self, features, hidden):
        filters = ops.stack([layer(hidden) for layer in self.dynamic_fc], axis=1)  # (S, K, C)
        _, height, width, channels = ops.shape(features)
        cells = ops.reshape(features, (-1, height * width, channels))
        products = ops.matmul(cells, ops.transpose(filters, (0, 2, 1)))  # (S, h w, K)
        responses = ops.reshape(products, (-1, height, width, len(self.dynamic_fc)))
        if self.response_fc is None:
            response_filter = ops.ones_like(filters[..., 0])
            response = responses[..., 0]
        else:
            responses = responses * region_masks(height, width, responses.dtype)
            response_filter = self.response_fc(hidden)
            response = ops.sum(responses * response_filter[:, None, None], axis=-1)
        weights = ops.sigmoid(response) if self.variant == "response" else response
        return {
            "weighted": features * weights[..., None],
            "response": response,
            "responses": responses,
            "filters": filters,
            "response_filter": response_filter,
        }

    def get_config(self):
        return {**super().get_config(), "variant": self.variant}
