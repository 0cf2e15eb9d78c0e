"""How CMPC-V is trained."""

import dataclasses

from cmpc_tf2.recipes import cmpc

CMPC_VIDEO = dataclasses.replace(cmpc.CMPC, decay_steps=400_000, steps=380_000)
