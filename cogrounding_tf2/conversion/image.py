"""Checkpoints of SL-Att."""

import re

from cmpc_tf2.conversion.families import TORCH, Family
from cogrounding_tf2.conversion import names

FAMILY = Family(
    name="sl_att",
    file_format=TORCH,
    pairs=names.image_pairs,
    infer_config=names.infer_image_config,
    sign=re.escape(names.FIRST_KERNEL),
    unless=names.CORRELATION,
    ignored=names.IGNORED,
    unused_variables=lambda config: names.batch_counts(names.image_pairs(config)),
    assumed=("max_words",),
    file_content=names.file_content,
)
