"""Referring expression comprehension: the box of what an expression refers to.

Models, files and losses do not belong here.
"""
