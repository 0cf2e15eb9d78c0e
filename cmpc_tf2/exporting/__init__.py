"""Models that run without this project: SavedModel, ONNX, TFLite. Each is run and compared before it gets its name.

Not here: `.keras` files (`model_files`), and checkpoints of the originals (`conversion`).
"""
