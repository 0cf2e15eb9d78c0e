"""From pictures to inputs of a model, and from its outputs back to the picture. Each model has a `Preprocessing`.

Not here: picture files (`data.image_files`), and the same steps as TensorFlow operations (`exporting.raw_inputs`).
"""
