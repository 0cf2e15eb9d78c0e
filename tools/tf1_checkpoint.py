"""A TensorFlow 1 checkpoint: its variables, and which model they are of."""

import collections
import math
import re
from pathlib import Path

from cmpc_tf2.config import LEVELS, OUTPUT_STRIDE, BackboneConfig, ModelConfig, ReferringConfig
from cmpc_tf2.errors import InputError
from cmpc_video_tf2.config import VideoModelConfig


class TF1Checkpoint:
    """A TensorFlow 1 Saver checkpoint, opened for reading.

    Args:
        prefix: The checkpoint's path: without `.index` in format V2, without the number of the shard in either.

    Attributes:
        shapes: Shape per variable name.
        dtypes: NumPy type per variable name.

    Raises:
        InputError: A file is missing, damaged or cut off.
    """

    def __init__(self, prefix: str):
        import tensorflow as tf

        self.prefix = prefix
        files = find_files(prefix)
        # TensorFlow finds the shards of format V1 by a pattern. The files exist, so this is not taken for a V2 prefix.
        is_sharded_v1 = str(files[0]).startswith(f"{prefix}-")
        self._errors = (tf.errors.OpError, RuntimeError, ValueError, IndexError, MemoryError)  # All seen of its reader.
        try:
            pattern = f"{prefix}-?????-of-{len(files):05d}" if is_sharded_v1 else prefix
            self._reader = tf.train.load_checkpoint(pattern)
            self.shapes = {name: tuple(s) for name, s in self._reader.get_variable_to_shape_map().items()}
            self.dtypes = {name: t.as_numpy_dtype for name, t in self._reader.get_variable_to_dtype_map().items()}
        except self._errors as error:
            raise InputError(f"{files[0]}: not a readable TensorFlow checkpoint: {first_line(error)}") from error
        self._check_size([file for file in files if file.suffix != ".index"])

    def _check_size(self, files: list[Path]):
        """Compares the data files' size with what is listed, so that a cut-off copy is found before any work."""
        import numpy as np

        # Of whole numbers V1 leaves out leading zeros, and strings have no fixed size.
        types = {name: np.dtype(dtype) for name, dtype in self.dtypes.items() if np.issubdtype(dtype, np.floating)}
        expected = sum(math.prod(self.shapes[name]) * dtype.itemsize for name, dtype in types.items())
        actual = sum(file.stat().st_size for file in files)
        if actual < expected:
            names = files[0] if len(files) == 1 else f"{files[0]} to {files[-1].name}"
            raise InputError(f"{names}: cut off: {actual} bytes, expected {expected} or more; copy it again")

    def read(self, name: str):
        """The value of a variable as a NumPy array."""
        try:
            return self._reader.get_tensor(name)
        except self._errors as error:
            raise InputError(f"{self.prefix}: cannot read variable {name}: {first_line(error)}") from error

    def read_step(self, name: str) -> int:
        """The value of a variable that counts steps."""
        value = self.read(name)
        if value.shape != () or value != value // 1:
            raise InputError(f"{self.prefix}: {name}: expected a whole number, found {value!r}")
        return int(value)


# What only one model has; the first that fits tells which it is.
_SIGNS = (
    ("cmpc_video", r"text_objseg/tg_.+"),
    ("cmpc", r"text_objseg/(words_parse_[12]|vis_trans_c[345]_head\d)/DW"),
    ("rmi", r"text_objseg/RNN/ALSTM/.+"),
    ("rrn", r"text_objseg/mlp0/(DW|biases)"),
    ("lstm", r"text_objseg/conv1/(DW|biases)"),
    ("backbone", r"conv1/weights"),
    ("deeplab", r"DeepLab/group_1/conv1/DW"),
)
# Of those, the bare ones.
BACKBONES = ("backbone", "deeplab")


def infer_kind(checkpoint: TF1Checkpoint) -> str:
    """Reads off the variables' names which model this is: `cmpc`, `cmpc_video`, `rrn`, `rmi`, `lstm`, or a bare
    backbone, `backbone` by CMPC's names and `deeplab` by RMI's.

    Raises:
        InputError: It is none of them.
    """
    names = checkpoint.shapes
    if any(name.startswith("ResNet/") for name in names):
        raise InputError(
            f"{checkpoint.prefix}: stands on a plain ResNet-101 (`-w resnet`), which is not supported; "
            "expected the form on DeepLab (`-w deeplab`)"
        )
    for kind, sign in _SIGNS:
        if any(re.fullmatch(sign, name) for name in names):
            if kind in BACKBONES and any(name.startswith("text_objseg/") for name in names):
                break
            return kind
    examples = ", ".join(sorted(names)[:3])
    raise InputError(
        f"{checkpoint.prefix}: not a checkpoint of CMPC, RRN, RMI, the LSTM baseline or a backbone: none of its "
        f"{len(names)} variables is theirs (it has {examples}, ...)"
    )


def infer_config(checkpoint: TF1Checkpoint, kind: str) -> ReferringConfig | BackboneConfig:
    """Reads off the variables' shapes how large a model is.

    RMI and the LSTM baseline have no peepholes, so nothing tells the size of their pictures: 320 is taken.

    Args:
        checkpoint: The checkpoint.
        kind: As `infer_kind` gives it.
    """
    shapes = checkpoint.shapes
    if kind == "backbone":
        return _infer_backbone(shapes)
    if kind == "deeplab":
        return _infer_deeplab(shapes)

    def size(names, axis, fallback):
        """The most frequent size along `axis` among variables that should agree, so that one bad shape stands out."""
        found = [shapes[name][axis] for name in names if len(shapes.get(name, ())) > axis]
        return collections.Counter(found).most_common(1)[0][0] if found else fallback

    scope = "text_objseg"
    peepholes = [f"{scope}/rnn/conv_lstm_cell/W_c{gate}" for gate in "ifo"]
    if kind in ("rrn", "rmi", "lstm"):
        default = ReferringConfig()
        fused = {"rrn": ["fusion/DW"], "lstm": ["conv1/DW"], "rmi": ["conv2/DW"]}[kind]
        visual = {"rrn": "mlp0", "lstm": "conv0", "rmi": "conv0"}[kind]
        return ReferringConfig(
            image_size=size(peepholes, 0, default.grid_size) * OUTPUT_STRIDE,
            vocabulary_size=size([f"{scope}/embedding"], 0, default.vocabulary_size),
            embedding_dim=size([f"{scope}/embedding"], 1, default.embedding_dim),
            feature_dim=size([f"{scope}/{visual}/biases"], 0, default.feature_dim),
            fusion_dim=size([f"{scope}/{name}" for name in fused], 2 if kind == "rmi" else 3, default.fusion_dim),
            backbone=_infer_backbone(shapes) if kind == "rrn" else _infer_deeplab(shapes),
        )
    default = ModelConfig()
    feature_dim = size([f"{scope}/{level}_lateral/biases" for level in LEVELS], 0, default.feature_dim)
    lstm_inputs = size([f"{scope}/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/kernel"], 0, 0)
    return (VideoModelConfig if kind == "cmpc_video" else ModelConfig)(
        image_size=size(peepholes, 0, default.grid_size) * OUTPUT_STRIDE,
        vocabulary_size=size([f"{scope}/Variable"], 0, default.vocabulary_size),
        embedding_dim=size([f"{scope}/Variable"], 1, max(1, lstm_inputs - feature_dim)),
        feature_dim=feature_dim,
        fusion_dim=size([f"{scope}/fusion_{level}/biases" for level in LEVELS], 0, default.fusion_dim),
        word_parser_dim=size([f"{scope}/words_parse_1/biases"], 0, default.word_parser_dim),
        backbone=_infer_backbone(shapes),
    )


def _infer_backbone(shapes: dict) -> BackboneConfig:
    depths = []
    for stage, default in zip((2, 3, 4, 5), BackboneConfig().depths, strict=True):
        blocks = {m[1] for name in shapes if (m := re.match(rf"res{stage}([a-z]\d*)_branch", name))}
        # 2a 2b 2c, but 3a 3b1 3b2: the last name tells the count, even if one in between is missing.
        counts = [int(b[1:]) + 1 if len(b) > 1 else ord(b) - ord("a") + 1 for b in blocks]
        depths.append(max(counts, default=default))
    stem = shapes.get("conv1/weights", ())
    return BackboneConfig(width=stem[3] if len(stem) == 4 else BackboneConfig().width, depths=tuple(depths))


def _infer_deeplab(shapes: dict) -> BackboneConfig:
    default = BackboneConfig()
    units = collections.defaultdict(set)
    for name in shapes:
        if match := re.match(r"DeepLab/group_(\d)_(\d+)/", name):
            units[int(match[1])].add(int(match[2]))
    depths = [
        max(units[stage], default=depth - 1) + 1 for stage, depth in zip((2, 3, 4, 5), default.depths, strict=True)
    ]
    stem = shapes.get("DeepLab/group_1/conv1/DW", ())
    return BackboneConfig(width=stem[3] if len(stem) == 4 else default.width, depths=tuple(depths))


def find_files(prefix: str) -> list[Path]:
    """The files of a checkpoint: of format V2 `.index` and the data files, of V1 one file or several shards.

    Raises:
        InputError: There are none, or one is missing.
    """
    if set("*?[]") & set(prefix):
        raise InputError(f"{prefix}: TensorFlow takes * ? [ ] in a prefix for wildcards; rename the files or folder")
    if re.search(r"\.(index|meta)$|-\d{5}-of-\d{5}$", prefix):
        raise InputError(f"{prefix}: give the prefix alone, without .index, .meta, .data or the number of a shard")
    index = Path(f"{prefix}.index")
    if index.is_file():
        if not (data := _find_shards(f"{prefix}.data")):
            raise InputError(f"{prefix}.data-00000-of-00001: no such file; it belongs to {index}")
        return [index, *data]
    if Path(prefix).is_file():
        return [Path(prefix)]
    if shards := _find_shards(prefix):
        return shards
    if Path(prefix).is_dir():
        raise InputError(f"{prefix}: is a folder; expected the prefix of a checkpoint's files in it")
    found = sorted(path.with_suffix("").name for path in index.parent.glob("*.index"))
    hint = f"that folder has {', '.join(found)}" if found else "expected a file of that name, or .index and .data files"
    raise InputError(f"{prefix}: no such checkpoint; {hint}")


def _find_shards(stem: str) -> list[Path]:
    """All of `<stem>-00000-of-00002`, `<stem>-00001-of-00002`; empty if there are none at all."""
    folder, name = Path(stem).parent, re.escape(Path(stem).name)
    matches = [re.fullmatch(rf"{name}-\d{{5}}-of-(\d{{5}})", path.name) for path in folder.glob("*-of-*")]
    missing = None
    for count in sorted({int(match[1]) for match in matches if match}):
        shards = [Path(f"{stem}-{number:05d}-of-{count:05d}") for number in range(count)]
        missing = next((shard for shard in shards if not shard.is_file()), None)
        if missing is None:
            return shards
    if missing is not None:
        raise InputError(f"{missing}: no such file; the checkpoint has {count} such files")
    return []


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
