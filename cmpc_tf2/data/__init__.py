"""Annotations to `.npz` batches, batches to a `tf.data` stream, and the embedded data set.

Not here: how pixels and words become inputs of a model (`preprocessing`, `text`).
"""
