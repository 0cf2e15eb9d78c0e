"""Checkpoints of CG-SL-Att."""

from cmpc_tf2.conversion.families import TORCH, Family
from cogrounding_tf2.conversion import names

FAMILY = Family(
    name="cg_sl_att",
    file_format=TORCH,
    pairs=names.video_pairs,
    infer_config=names.infer_video_config,
    sign=names.CORRELATION,
    ignored=names.IGNORED,
    unused_variables=lambda config: names.batch_counts(names.video_pairs(config)),
    assumed=("max_words", "clip_frames"),
    file_content=names.file_content,
)
