"""MAttNet: which object of a picture an expression refers to, by its subject, its location and its relationships.

`model.py` has the whole model: its detector, and the network that matches boxes and expressions, which is in
`matching_network.py`.
"""
