"""Inference with a trained model: encode once and decode many times, evaluation, galleries.

Not here: what a mask or box is (`tasks`), and serving (`serving`).
"""
