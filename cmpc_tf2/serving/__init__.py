"""Serves a model: HTTP, and a page in the browser that uses it.

Not here: the HTTP schema of a task (`tasks`), and the command (`commands.serve`).
"""
