"""MAttNet: which object of a picture an expression refers to, by its subject, its location and its relationships.

`model.py` has the whole model, `matching_network.py` its part that matches boxes and expressions; the other is the detector.
"""
