"""Reports of evaluations: intervals, groups, comparisons, and their HTML pages.

Not here: how a mask is scored (`tasks`), and running a model (`inference`).
"""
