"""Training runs: their configuration, the step, the devices, checkpoints, resuming, the log.

Not here: losses and optimizers (`recipes`).
"""
