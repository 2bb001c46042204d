"""The peers, each as its own documentation would have it.

The apps run inside .venv-bench, nothing here imports them.
"""
