"""Models in forms that run without this project: SavedModel, ONNX, TFLite. Each file is run before it gets its name.

Not here: `.keras` files (`model_files`), and checkpoints of the originals (`conversion`).
"""
