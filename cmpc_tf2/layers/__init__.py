"""Layers that Keras lacks or defines differently. They use only `keras.ops`, so they run on every backend.

Not here: anything that only one family uses (`models`).
"""
