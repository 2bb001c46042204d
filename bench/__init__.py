"""The benchmark: our server and named peers, measured in one run.

It knows the servers only as processes and URLs.
"""
