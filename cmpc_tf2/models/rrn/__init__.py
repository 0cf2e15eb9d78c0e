"""RRN (CVPR 2018): a ConvLSTM refines a mask with the levels of the backbone.

Its loss and optimizer are in `recipes/`, its pixels and words in the defaults of `models/referring_model.py`.
"""
