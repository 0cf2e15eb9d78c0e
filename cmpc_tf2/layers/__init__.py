"""Pieces that Keras lacks, or has in another form than the originals; `keras.ops` alone, for every backend.

Not here: anything that only one family uses (`models`).
"""
