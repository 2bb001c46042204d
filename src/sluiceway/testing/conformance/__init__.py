"""A black-box suite for servers of resumable uploads: tus 1.0.0 and the IETF form.

Run it against any server: `python -m sluiceway.testing.conformance URL`. It knows the texts and a
URL, and nothing of the server behind it.
"""
