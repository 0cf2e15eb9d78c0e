"""Answers to the question of what a model gives: ground truth, metrics, protocol, drawing, HTTP schema of each task.

Not here: models, and what trains them (`recipes`).
"""
