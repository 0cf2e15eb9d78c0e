"""Training runs: their configuration, the step, the devices, checkpoints, resuming, the log.

Not here: what a system minimises, and by which optimizer (`recipes`).
"""
