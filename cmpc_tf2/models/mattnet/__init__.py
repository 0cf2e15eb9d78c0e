"""MAttNet: which object of a picture an expression refers to, by its subject, its location and its relationships.

`model.py` has the network that matches boxes and expressions, `system.py` the whole model: it and its detector.
"""
