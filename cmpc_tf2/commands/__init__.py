"""The commands: options in, a library call, text out. A module imports heavy libraries when its command runs.

Not here: work that a library user could want without the command line.
"""
