"""Annotated boxes to batches, and batches to what training and tests compare: augmented pictures and targets."""
