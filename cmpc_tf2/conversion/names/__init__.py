"""One module per family of models: which variable of its original is which weight, and how its checkpoints are known.

Not here: anything that reads or writes files. CMPC-V's module is in `cmpc_video_tf2`.
"""
