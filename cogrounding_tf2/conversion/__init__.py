"""The original's checkpoints of SL-Att. and CG-SL-Att. `cmpc_tf2.conversion` does the work."""
