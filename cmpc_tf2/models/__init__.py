"""The systems of the field, one folder each: sizes, parts and assembly. `referring_model` is what all have in common.

Not here: files, losses and checkpoints. `systems.py` in the folder above lists the systems.
"""
