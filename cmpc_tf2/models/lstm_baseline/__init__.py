"""D+LSTM, the baseline of RMI's authors: one sentence vector next to every cell.

Its loss and optimizer are in `recipes/`, its pixels and words in the defaults of `models/referring_model.py`.
"""
