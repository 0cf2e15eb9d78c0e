"""MaskRIS' original under PyTorch, as a side of `peers.py`.

Its other requirements do not install on current machines. What it takes from timm, mmcv and mmdet is written here in
plain PyTorch; `peers.py` checks that the results are those of our model.
"""

import sys

import torch
from peer_process import make_inputs, normalize, parse_side, provide
from pytorch_side import run_side
from torch import nn
from torch.nn import functional as F


class ConvModule(nn.Module):
    """Convolution, group normalization and ReLU, as mmcv orders them."""

    def __init__(self, inputs, outputs, kernel_size, stride=1, padding=0, bias=True, norm_cfg=None, act_cfg=None):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=bias)
        self.gn = nn.GroupNorm(norm_cfg["num_groups"], outputs)
        self.activation = nn.ReLU() if act_cfg else nn.Identity()

    def forward(self, x):
        return self.activation(self.gn(self.conv(x)))


class MultiScaleDeformableAttention(nn.Module):
    """Deformable attention in its PyTorch form; mmcv's compiled operator needs CUDA."""

    def __init__(self, embed_dim, num_heads, num_levels, num_points, im2col_step, dropout, batch_first):
        super().__init__()
        self.shape = num_heads, num_levels, num_points
        self.sampling_offsets = nn.Linear(embed_dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(embed_dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)

    def init_weights(self):
        """The caller initializes the layers; the values do not matter here."""

    def forward(self, query, value, query_pos, key_padding_mask, reference_points, spatial_shapes, **unused):
        identity, query = query, query + query_pos
        batch, places, width = query.shape
        heads, levels, points = self.shape
        value = self.value_proj(value).masked_fill(key_padding_mask[..., None], 0)
        value = value.view(batch, -1, heads, width // heads)
        offsets = self.sampling_offsets(query).view(batch, places, heads, levels, points, 2)
        weights = self.attention_weights(query).view(batch, places, heads, levels * points).softmax(-1)
        sizes = torch.stack([spatial_shapes[:, 1], spatial_shapes[:, 0]], -1)
        grid = 2 * (reference_points[:, :, None, :, None] + offsets / sizes[:, None]) - 1
        samples = []
        for level, part in enumerate(value.split([height * row for height, row in spatial_shapes.tolist()], dim=1)):
            picture = part.flatten(2).transpose(1, 2).reshape(batch * heads, width // heads, *spatial_shapes[level])
            at = grid[:, :, :, level].transpose(1, 2).flatten(0, 1)
            samples.append(F.grid_sample(picture, at, mode="bilinear", padding_mode="zeros", align_corners=False))
        weights = weights.transpose(1, 2).reshape(batch * heads, 1, places, levels * points)
        mixed = (torch.stack(samples, dim=-2).flatten(-2) * weights).sum(-1).view(batch, width, places)
        return self.output_proj(mixed.transpose(1, 2)) + identity


class SinePositionalEncoding(nn.Module):
    """Sines and cosines of the row and the column."""

    def __init__(self, num_feats, normalize):
        super().__init__()
        self.num_feats = num_feats

    def forward(self, mask):
        places = 1 - mask.float()
        index = torch.arange(self.num_feats, dtype=torch.float32)
        wavelengths = 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / self.num_feats)
        halves = []
        for axis in (1, 2):
            position = places.cumsum(axis)
            position = position / (position.select(axis, -1).unsqueeze(axis) + 1e-6) * 2 * torch.pi
            angle = position[..., None] / wavelengths
            halves.append(torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1).flatten(-2))
        return torch.cat(halves, dim=-1).permute(0, 3, 1, 2)


class MlvlPointGenerator:
    """Centres of the cells of a level, in pixels."""

    def __init__(self, strides):
        self.strides = strides

    def single_level_grid_priors(self, size, level_idx, device):
        rows, columns = (torch.arange(length) + 0.5 for length in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], -1) * self.strides[level_idx]


class DropPath(nn.Module):
    """Leaves out the branch of a whole sample at random."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or not self.rate:
            return x
        kept = torch.rand((len(x), *[1] * (x.ndim - 1))) >= self.rate
        return x * kept / (1 - self.rate)


def load_original(clone: str) -> nn.Module:
    """The network of the paper with random weights."""
    layers = {"trunc_normal_": nn.init.trunc_normal_, "DropPath": DropPath, "to_2tuple": lambda x: (x, x)}
    provide("timm.models.layers", **layers)
    provide("mmcv.cnn", ConvModule=ConvModule, caffe2_xavier_init=None, xavier_init=None)
    provide("mmcv.runner", BaseModule=nn.Module, ModuleList=nn.ModuleList)
    provide("mmcv.ops.multi_scale_deform_attn", MultiScaleDeformableAttention=MultiScaleDeformableAttention)
    provide("mmdet.core.anchor", MlvlPointGenerator=MlvlPointGenerator)
    provide("mmdet.models.utils", SinePositionalEncoding=SinePositionalEncoding)
    provide("requests")
    provide("tqdm.auto", tqdm=None)
    torch.Tensor.cuda = lambda tensor, *unused, **more: tensor
    sys.path.insert(0, clone)
    from bert.configuration_bert import BertConfig
    from config import get_parser
    from criterion import SegCELoss
    from model import builder
    from model.backbones.bert_encoder import MultiStageBertModel

    MultiStageBertModel.from_pretrained = classmethod(lambda cls, _: cls(BertConfig()))
    torch.manual_seed(0)
    options = get_parser().parse_args(["--lr", "1e-4"])
    return builder.maskris(args=options, criterion=SegCELoss())


def make_inference(model: nn.Module, pictures: int, sentences: int):
    """What a call of inference does: returns the logits of all sentences, of an object minus of the rest."""
    images, ids, mask = make_tensors(pictures, sentences)
    model.eval()

    def infer():
        with torch.no_grad():
            if sentences == pictures:
                logits = model(images, ids, mask, return_probs=True)
            else:  # It encodes the picture again for every sentence.
                pairs = zip(ids.split(1), mask.split(1), strict=True)
                logits = torch.cat([model(images, *pair, return_probs=True) for pair in pairs])
            return logits[:, 1] - logits[:, 0]

    return infer


def make_training(model: nn.Module, pictures: int, sentences: int):
    """What a training step of MaskRIS does, of a batch."""
    from util.aug_mask import patchify, random_masking, unpatchify

    images, ids, mask = make_tensors(pictures, sentences)
    model.train()
    optimizer = torch.optim.AdamW(model.params_to_optimize(), lr=1e-4, weight_decay=0.01)
    target = (images[:, 0] > 0).long()

    def train():
        optimizer.zero_grad()
        losses, logits = model(images, ids, mask, targets={"mask": target}, return_probs=True)
        (losses["total_loss"] * 0.5).backward()
        masked = unpatchify(random_masking(patchify(images, 32), 0.75), 32)
        losses = model(masked, ids, mask, targets={"mask": F.softmax(logits.detach(), dim=1)})
        (losses["total_loss"] * 0.5).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return losses["total_loss"]

    return train


def make_tensors(pictures: int, sentences: int) -> tuple:
    """Pictures, token ids and the mask of the tokens."""
    pixels, ids = make_inputs("maskris", pictures, sentences)
    images, ids = torch.from_numpy(normalize(pixels)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(ids)
    return images, ids, torch.ones_like(ids)


def main():
    options = parse_side(__doc__.splitlines()[0])
    model = load_original(f"{options.clones}/maskris")
    make = make_training if options.training else make_inference
    run_side(options, {"": model}, lambda: make(model, options.pictures, options.sentences))


if __name__ == "__main__":
    main()
