"""Checkpoints of the originals: readers of their files, the strict mapping to our weights, one map of names per family.

Not here: how our own model files are read and written (`model_files`), and the command (`commands.convert`).
"""
