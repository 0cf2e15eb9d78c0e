"""CMPC (CVPR 2020): words by type, relations between cells, exchange between levels.

Its loss and optimizer are in `recipes/`, its pixels and words in the defaults of `models/referring_model.py`.
"""
