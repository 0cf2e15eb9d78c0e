"""SL-Att.'s original under PyTorch, as a side of `peers.py`.

Its requirements do not install on current machines; none of those that are missing is needed for what is measured.
"""

import argparse
import collections
import os
import sys

import torch
from peer_process import BOX, make_inputs, normalize, parse_side, provide
from pytorch_side import run_side
from torch import nn

# Words of the original's vocabulary of RefCOCO.
WORDS = 12099
ANCHORS = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]


def load_original(clone: str) -> tuple:
    """The network of the paper with random weights, and the training script as a module."""
    collections.Iterable = collections.abc.Iterable  # Python 3.10 removed it.
    provide("cv2")
    provide("dataset.referit_loader")
    provide("distutils.version", LooseVersion=None)
    provide("matplotlib", use=lambda name: None)
    provide("matplotlib.pyplot")
    provide("PIL.Image")
    provide("pytorch_pretrained_bert.modeling", BertModel=None)
    provide("pytorch_pretrained_bert.tokenization", BertTokenizer=None)
    provide("scipy.misc")
    for module in ("datasets", "models", "transforms"):
        provide(f"torchvision.{module}", Compose=None, ToTensor=None, Normalize=None)
    torch.Tensor.cuda = lambda tensor, *unused, **more: tensor
    sys.path.insert(0, clone)
    os.chdir(clone)  # It reads `model/yolov3.cfg`.
    import train_semantic_attention_visual_grounding as script
    from model.darknet import Darknet

    Darknet.load_weights = lambda network, path: None
    torch.manual_seed(0)
    return script.grounding_model(corpus=range(WORDS), emb_size=512), script


def make_inference(model: nn.Module, pictures: int, sentences: int):
    """What a call of inference does: returns the boxes of all sentences, `(N, 4032, 5)`.

    Several sentences about one picture are a batch of equal pictures: the original's own way, and faster than one by
    one.
    """
    images, ids = make_tensors(pictures, sentences)
    images = images.expand(sentences, -1, -1, -1)
    model.eval()

    def infer():
        with torch.no_grad():
            maps = model(images, ids, None)[0]
        return torch.cat([x.view(len(x), 3, 5, -1).transpose(2, 3).flatten(1, 2) for x in maps], dim=1)

    return infer


def make_training(model: nn.Module, script, batch: int):
    """What a training step does: the original's epoch, of one batch."""
    script.args = argparse.Namespace(size=256, anchor_imsize=416, batch_size=batch, save_plot=False, print_freq=1)
    script.anchors_full = ANCHORS[::-1]
    images, ids = make_tensors(batch, batch)
    data = [(images, ids, ids, torch.tensor([BOX] * batch), None)]
    backbone = list(model.visumodel.parameters())
    rest = [parameter for name, parameter in model.named_parameters() if not name.startswith("visumodel.")]
    groups = [{"params": rest}, {"params": backbone, "lr": 1e-5}]
    optimizer = torch.optim.RMSprop(groups, lr=1e-4, weight_decay=0.0005)
    return lambda: script.train_epoch(data, model, optimizer, 0, False)


def make_tensors(pictures: int, sentences: int) -> tuple:
    """Pictures and token ids."""
    pixels, ids = make_inputs("sl_att", pictures, sentences)
    return torch.from_numpy(normalize(pixels)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(ids).long()


def use_statistics_of(model: nn.Module, pictures: int):
    """Makes the running statistics those of a batch, so that the maps of untrained weights do not fade away."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1
    with torch.no_grad():
        model.train()(*make_tensors(pictures, pictures), None)


def main():
    options = parse_side(__doc__.splitlines()[0])
    # It goes into the clone.
    options.weights, options.clones = os.path.abspath(options.weights), os.path.abspath(options.clones)
    model, script = load_original(f"{options.clones}/CVPR21-Cogrounding_semantic_attention")
    if options.save:
        use_statistics_of(model, options.pictures)

    def make_step():
        if options.training:
            return make_training(model, script, options.pictures)
        return make_inference(model, options.pictures, options.sentences)

    run_side(options, {"": model}, make_step)


if __name__ == "__main__":
    main()
