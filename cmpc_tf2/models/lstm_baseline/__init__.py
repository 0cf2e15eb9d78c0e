"""D+LSTM, the baseline of RMI's authors: the sentence vector is joined to the features of every cell."""
