"""Masks of what an expression refers to. `task.MaskTask` is what the commands ask.

Not here: boxes, and how a model computes logits.
"""
