"""D+LSTM, the baseline of RMI's authors: one sentence vector beside every cell."""
