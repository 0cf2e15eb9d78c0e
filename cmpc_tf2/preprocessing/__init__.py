"""How pixels get into a model, and how its results get back to the picture: each model has its `Preprocessing`.

Not here: picture files (`data.image_files`), and the same steps as TensorFlow operations (`exporting.raw_inputs`).
"""
