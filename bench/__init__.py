"""The benchmark measures our server and named peers in one run.

It knows the servers only as processes and URLs.
"""
