"""MAttNet's original under PyTorch, as a side of `peers.py`: its class for demos, with its detector.

It is written for Python 2 and PyTorch 0.2, and its requirements do not install on current machines. Those that are
needed for what is measured are written here: non-maximum suppression, which the original compiles, and the resizing of
masks of an old SciPy. `peers.py` checks that the scores are those of our model.
"""

import builtins
import functools
import importlib
import sys
import types

import cv2
import numpy as np
import torch
from peer_process import make_inputs, make_pairs, parse_side, provide
from PIL import Image
from pytorch_side import run_side
from torch import nn
from torch.nn import functional as F

CLASSES = ["__background__", *(f"class {number}" for number in range(1, 81))]
WORDS = 1999
# Factor of the weights of the classes, by which 11 boxes are found.
SPREAD = 320
# Boxes that suppression compares at once.
BLOCK = 256


def suppress(keep, count, boxes, order, areas, overlap: float):
    """Greedy non-maximum suppression; the indices and their number are written to `keep` and `count`."""
    boxes, left, areas, kept = boxes.numpy(), order.numpy(), areas.numpy(), []

    def clashes(first, second):
        corner = np.minimum(boxes[first, None, 2:4], boxes[second, 2:4])
        sides = np.maximum(corner - np.maximum(boxes[first, None, :2], boxes[second, :2]) + 1, 0)
        common = sides[..., 0] * sides[..., 1]
        return common / (areas[first, None] + areas[second] - common) >= overlap

    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        earlier, alive, before = np.triu(clashes(block, block), 1), np.ones(len(block), bool), None
        while before is None or (alive != before).any():
            before, alive = alive, ~earlier[alive].any(axis=0)
        kept.append(block[alive])
        left = left[~clashes(block[alive], left).any(axis=0)]
    kept = torch.from_numpy(np.concatenate(kept))
    keep[: len(kept)], count[0] = kept, len(kept)


def resize(values: np.ndarray, size: tuple[int, int], interp: str) -> np.ndarray:
    """Numbers stretched to 0 to 255, as a picture of another size."""
    low, high = values.min(), values.max()
    levels = ((values - low) * (255 / ((high - low) or 1)) + 0.5).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize(size[::-1], Image.BILINEAR))


class AttributeDict(dict):
    """A dict whose items are attributes too."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def provide_requirements():
    """Makes imports of the original work, and gives functions the meaning that they had."""
    provide("_ext.nms", cpu_nms=suppress)
    provide("_ext.roi_pooling")
    provide("_init_paths")
    provide("datasets.factory", get_imdb=None)
    provide("easydict", EasyDict=AttributeDict)
    provide("matplotlib", use=lambda name: None)
    provide("matplotlib.pyplot", rcParams={})
    provide("pycocotools.mask")
    provide("scipy.misc", imread=None, imresize=resize)
    provide("scipy.ndimage")
    provide("tensorboardX")
    torch.Tensor.cuda = lambda tensor, *unused, **more: tensor
    for name in ("affine_grid", "grid_sample"):
        setattr(F, name, functools.partial(getattr(F, name), align_corners=True))


def load_original(clones: str) -> tuple:
    """The demo's object with random weights, and what its training needs: options, loss and clipping."""
    provide_requirements()
    sys.path[:0] = [f"{clones}/MAttNet/lib", f"{clones}/MAttNet/tools", f"{clones}/mask-faster-rcnn/lib"]
    for module, name in (("nets.vgg16", "vgg16"), ("utils.visualization", "draw_bounding_boxes")):
        importlib.import_module(module.partition(".")[0])
        provide(module, **{name: None})
    import mattnet
    from mrcn.inference import Inference, resnetv1
    from opt import parse_opt

    # In Python 2, `sorted` takes a comparison.
    mattnet.sorted = lambda items, cmp: builtins.sorted(items, key=functools.cmp_to_key(cmp))
    torch.manual_seed(0)
    demo, detector = mattnet.MattNet.__new__(mattnet.MattNet), Inference.__new__(Inference)
    sys.argv = sys.argv[:1]  # The original's defaults.
    demo.model_opt = {**vars(parse_opt()), "vocab_size": WORDS, "pool5_dim": 1024, "fc7_dim": 2048, "num_atts": 50}
    demo.model = mattnet.JointMatching(demo.model_opt)
    demo.word_to_ix = {str(number): number for number in range(WORDS)}
    demo.ix_to_att = {number: str(number) for number in range(50)}
    detector.num_classes, detector.net = len(CLASSES), resnetv1(batch_size=1, num_layers=101)
    detector.net.create_architecture(
        len(CLASSES), tag="default", anchor_scales=[4, 8, 16, 32], anchor_ratios=[0.5, 1, 2]
    )
    # Convolutions keep the order of the axes in memory today, which the original's views do not expect.
    detector.net._layers["head"].register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
    numbers = {name: number for number, name in enumerate(CLASSES)}
    demo.imdb = types.SimpleNamespace(classes=CLASSES, _class_to_ind=numbers, _class_to_coco_cat_id=numbers)
    demo.mrcn = detector
    return demo, mattnet


def find_few_objects(demo, mattnet):
    """Changes random weights so that their maps neither grow nor fade, and few proposals are objects."""
    net = demo.mrcn.net
    with torch.no_grad():
        net.resnet.conv1.weight *= 0.02
        for name, weight in net.named_parameters():
            if name.endswith("bn3.weight"):
                weight.fill_(0.25)
        show_picture(mattnet)
        demo.mrcn.predict("picture")
        net.cls_score_net.weight *= SPREAD
        net.cls_score_net.bias.copy_(-SPREAD * net._predictions["cls_score"].mean(0))


def show_picture(mattnet):
    """Makes the original see the picture of the inputs whatever file it reads: our side reads none either."""
    (pixels,), _ = make_inputs("mattnet", 1, 1)
    mattnet.imread, cv2.imread = lambda path: pixels, lambda path: np.ascontiguousarray(pixels[..., ::-1])


def make_inference(demo, mattnet, sentences: int):
    """What a call of inference does: the demo detects once, then takes one sentence after the other.

    It returns the scores of all boxes for all sentences, `(N, n)`.
    """
    _, token_ids = make_inputs("mattnet", 1, sentences)
    show_picture(mattnet)
    expressions = [" ".join(map(str, ids[ids > 0])) for ids in token_ids]
    scores = []
    demo.model.eval().register_forward_hook(lambda module, inputs, outputs: scores.append(outputs[0]))

    def infer():
        scores.clear()
        with torch.no_grad():
            found = demo.forward_image("picture")
            for expression in expressions:
                demo.comprehend(found, expression)
        return torch.stack(scores)

    return infer


def make_training(demo, pictures: int, sentences: int):
    """What a training step of the matching network does, with given features."""
    from crits.max_margin_crit import MaxMarginCriterion
    from models.utils import clip_gradient

    options, model = demo.model_opt, demo.model.train()
    features, rows, attributes, weights = make_pairs(pictures)
    features = {name: torch.from_numpy(value[rows]) for name, value in features.items()}
    for name in ("pool5", "fc7"):
        features[name] = features[name].transpose(1, 2).unflatten(2, (7, 7)).contiguous()
    _, token_ids = make_inputs("mattnet", 1, sentences)
    # Labels are as long as the longest sentence.
    labels = torch.from_numpy(token_ids[:, token_ids.any(axis=0)]).long()
    labels = torch.cat([labels, labels, labels.roll(1, 0)])
    rank = MaxMarginCriterion(options["visual_rank_weight"], options["lang_rank_weight"], options["margin"])
    entropy, attributes = nn.BCEWithLogitsLoss(torch.from_numpy(weights)), torch.from_numpy(attributes)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=options["learning_rate"],
        betas=(options["optim_alpha"], options["optim_beta"]),
        eps=options["optim_epsilon"],
    )

    def train():
        optimizer.zero_grad()
        scores, *_, logits = model(*features.values(), labels)
        loss = rank(scores) + options["att_weight"] * entropy(logits[:sentences], attributes)
        loss.backward()
        clip_gradient(optimizer, options["grad_clip"])
        optimizer.step()
        return loss

    return train


def main():
    options = parse_side(__doc__.splitlines()[0])
    demo, mattnet = load_original(options.clones)
    if options.save:
        find_few_objects(demo, mattnet)

    def make_step():
        if options.training:
            return make_training(demo, options.pictures, options.sentences)
        return make_inference(demo, mattnet, options.sentences)

    run_side(options, {"": demo.model, ".detector": demo.mrcn.net}, make_step)


if __name__ == "__main__":
    main()
