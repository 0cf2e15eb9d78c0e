"""RMI (ICCV 2017): picture and sentence are read together, word by word.

Its loss and optimizer are in `recipes/`, its pixels and words in the defaults of `models/referring_model.py`.
"""
