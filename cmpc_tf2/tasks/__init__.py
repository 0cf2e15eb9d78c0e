"""Tasks: metrics, evaluation protocol, drawing and HTTP schema for each kind of output.

Not here: models, and how they are trained (`recipes`).
"""
