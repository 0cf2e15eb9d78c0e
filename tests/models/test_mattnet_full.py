"""MAttNet's matching network at full size against the numbers of the original's demo."""

import numpy as np
import pytest

from cmpc_tf2.conversion.names.mask_rcnn import mask_rcnn_pairs
from cmpc_tf2.conversion.names.mattnet import mattnet_pairs
from cmpc_tf2.inference.detector import Detector
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.matching_network import MatchingNetwork
from cmpc_tf2.preprocessing.box_geometry import (
    context_features,
    contexts,
    location_features,
    neighbour_features,
    relative_features,
)
from cmpc_tf2.preprocessing.pasting import clip_boxes
from twostage_original import assign_by_rule, read_golden

CONFIG = MAttNetConfig(max_words=12)  # The demo does not cut sentences.


def features_of(golden) -> dict[str, np.ndarray]:
    """The inputs of the detected boxes: features of those clipped to the picture, places of those that are not."""
    model = MaskRCNNC4(name="mask_rcnn")
    assign_by_rule(model.variables, mask_rcnn_pairs(model.config), "maskrcnn_full")
    detector, boxes = Detector(model), golden["boxes"]
    picture = detector.encode(golden["image"])
    height, width = picture.size
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1).astype(np.float32)
    pooled, last = (
        np.reshape(values, (len(boxes), 49, -1))
        for values in detector.box_features(picture, clip_boxes(corners, height, width))
    )
    others = contexts(boxes, golden["category_id"], CONFIG.contexts)
    return {
        "pool5": pooled,
        "fc7": last,
        "lfeats": location_features(boxes, height, width),
        "dif_lfeats": neighbour_features(boxes, golden["category_id"]),
        "cxt_fc7": context_features(last.mean(axis=1), others),
        "cxt_lfeats": relative_features(boxes, others),
    }


@pytest.mark.slow
def test_the_demo(parity):
    golden = read_golden("mattnet_full")
    features = features_of(golden)
    for name in ("lfeats", "dif_lfeats", "cxt_lfeats"):
        scale = np.abs(golden[name]).max()
        parity.within("MAttNet, full size: geometry", features[name], golden[name], 1e-6, scale, name)
    network = MatchingNetwork(CONFIG)
    assign_by_rule(network.weights, mattnet_pairs(CONFIG), "mattnet_full")
    encoded = network.encode({name: value[None] for name, value in features.items()})
    tokens = [golden[f"{sentence}/tokens"] for sentence in range(3)]
    padded = np.stack([np.pad(one, (0, CONFIG.max_words - len(one))) for one in tokens])
    found = {name: np.asarray(value) for name, value in network.decode(encoded, padded).items()}
    what = "MAttNet, full size"
    for row, words in enumerate(tokens):
        best = int(found["scores"][row].argmax())
        assert best == golden[f"{row}/pred_det_id"]
        parity.within(f"{what}: scores", found["scores"][row], golden[f"{row}/match_scores"], 2e-4)
        parity.within(f"{what}: weights", found["weights"][row], golden[f"{row}/weights"], 1e-5)
        parity.within(f"{what}: cells", found["grid_attention"][row, best], golden[f"{row}/sub_grid_attn"], 2e-4)
        for number, module in enumerate(("sub", "loc", "rel")):
            attention = found["word_attention"][row, number, : len(words)]
            parity.within(f"{what}: words", attention, golden[f"{row}/{module}_attn"], 1e-5)
        if found["module_scores"][row, best, 2] != 0:
            other = golden["cxt_det_ids"][best, found["context"][row, best]]
            assert other == golden[f"{row}/rel_det_id"]
