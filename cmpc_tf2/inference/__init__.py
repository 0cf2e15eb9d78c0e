"""Inference with a trained model: encode once and decode many times, evaluation.

Not here: what a mask or box is (`tasks`), reports (`reports`), and serving (`serving`).
"""
