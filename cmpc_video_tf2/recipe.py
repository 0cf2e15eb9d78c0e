"""How CMPC-V is trained."""

import dataclasses

from cmpc_tf2.recipes import tf1

CMPC_VIDEO = dataclasses.replace(tf1.CMPC, decay_steps=400_000, steps=380_000)
