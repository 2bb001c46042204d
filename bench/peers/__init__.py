"""The peers, each as its own documentation recommends.

The apps run inside .venv-bench; no module here imports them.
"""
