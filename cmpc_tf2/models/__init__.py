"""Models, one folder per family: sizes, parts and assembly. `referring_model` is their common interface.

Not here: files, losses and checkpoints. `systems.py` in the folder above lists the systems.
"""
