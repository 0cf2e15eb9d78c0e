"""Masks of what an expression refers to. `task.MaskTask` is the interface for the commands.

Not here: boxes, and how a model computes logits.
"""
