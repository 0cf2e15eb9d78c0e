"""The commands: each parses options, calls the library and prints text. Heavy libraries are imported when it runs.

Not here: anything that is useful without the command line.
"""
