"""A trained model at work: encoded once and decoded many times, scored on a split, explained, refined and shown.

Not here: what a mask or box is (`tasks`), and serving (`serving`).
"""
