"""Mask R-CNN C4: boxes, classes and masks of the objects in a picture, for models that choose among them.

Not here: pixels in and masks out (`preprocessing/detector_picture.py`, `preprocessing/pasting.py`), and the graphs that
inference runs (`inference/detector.py`).
"""
