"""CMPC-V for Keras 3: segmentation of actors and actions in video clips by referring expressions."""
