"""CAC: a Mask R-CNN that detects the one object that a sentence refers to, as the sentence weights its feature map.

Losses and targets of training are in `recipes/cac/`.
"""
