"""Serves a model: a page in the browser, or HTTP.

Not here: the HTTP schema of a task (`tasks`), and the command (`commands.serve`).
"""
