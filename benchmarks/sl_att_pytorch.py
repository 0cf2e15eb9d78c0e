"""One row of `sl_att.py` under PyTorch: the original's code, run in a process of its own.

Its requirements do not install on current machines; none of those that are missing is needed for what is measured.

Reads one line for each call and answers with JSON: the seconds and the peak memory.
"""

import argparse
import collections
import contextlib
import io
import os
import sys
import warnings

import torch
from against_pytorch import BOX, SIZES, answer, make_inputs, provide
from torch import nn

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
    return script.grounding_model(corpus=range(SIZES["sl_att"][2]), emb_size=512), script


def make_inference(model: nn.Module, pictures: int, sentences: int, one_by_one: bool):
    """What a call of inference does: returns the boxes, `(N, 4032, 5)`, or those of the last sentence alone."""
    images, ids = make_tensors(pictures, sentences)
    images = images.expand(sentences, -1, -1, -1)
    batches = zip(images.split(1), ids.split(1), strict=True) if one_by_one else [(images, ids)]
    batches = list(batches)
    model.eval()

    def infer():
        with torch.no_grad():
            for image, words in batches:
                maps = model(image, words, None)[0]
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

    def train():
        with contextlib.redirect_stdout(io.StringIO()):
            script.train_epoch(data, model, optimizer, 0, False)

    return train


def make_tensors(pictures: int, sentences: int) -> tuple:
    """Pictures and token ids."""
    images, ids = (torch.from_numpy(value) for value in make_inputs("sl_att", pictures, sentences))
    return images.permute(0, 3, 1, 2).contiguous(), ids.long()


def use_statistics_of(model: nn.Module, pictures: int, sentences: int):
    """Makes the running statistics those of a batch, so that the maps of untrained weights do not fade away."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1
    images, ids = make_tensors(pictures, sentences)
    with torch.no_grad():
        model.train()(images, ids, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", help="clone of SijieSong/CVPR21-Cogrounding_semantic_attention")
    parser.add_argument("pictures", type=int)
    parser.add_argument("sentences", type=int)
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--one-by-one", action="store_true", help="one sentence after the other")
    parser.add_argument("--save", help="write the weights and the boxes here, and stop")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # The code is that of PyTorch 0.4.
    pictures, sentences = arguments.pictures, arguments.sentences
    model, script = load_original(arguments.clone)
    if arguments.training:
        answer(make_training(model, script, pictures))
    elif arguments.save:
        use_statistics_of(model, pictures, sentences)
        boxes = make_inference(model, pictures, sentences, one_by_one=False)()
        torch.save({"state_dict": model.state_dict(), "logits": boxes}, arguments.save)
    else:
        answer(make_inference(model, pictures, sentences, arguments.one_by_one))


if __name__ == "__main__":
    main()
