"""How CAC is trained: what is drawn for a picture and a sentence, the losses, the optimizer, and a step.

The network is in `models/cac/`.
"""
