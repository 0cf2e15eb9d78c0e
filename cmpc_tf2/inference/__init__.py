"""Inference with a trained model: encode once and decode many times, evaluation, explanations, DenseCRF, galleries.

Not here: what a mask or box is (`tasks`), and serving (`serving`).
"""
