"""How CAC is trained: what is drawn for a picture and a sentence, the losses, and the recipe that puts them together.

The network is in `models/cac/`.
"""
