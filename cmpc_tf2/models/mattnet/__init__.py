"""MAttNet: which of the boxes of a picture an expression refers to, by its subject, its place and its neighbours.

Here is the network that compares boxes and expressions. The detector that proposes boxes is not in this folder.
"""
