"""Restores a backup from object storage straight into a REST API: no disk and no memory in between, whatever its size.

    python restore.py 'https://bucket.s3.example/backup.tar?X-Amz-Signature=…' https://api.example/files/backup.tar
    curl -s SOURCE | curl -T - DESTINATION     # nearly the same: without length, retries, digest and certainty

A signed URL needs no library for the storage. TOKEN is the destination's, FROM_TOKEN the source's (bearer tokens).
"""

import os
import sys

import sluiceway


def show(now: sluiceway.Progress) -> None:
    """The destination's kernel has acknowledged `done` bytes; only the end says that they are kept."""
    of = "" if now.total is None else f" of {now.total}"
    print(
        f"\r{now.stage} {now.done}{of} bytes {now.note}".ljust(79),
        end="",
        file=sys.stderr,
        flush=True,
    )


def main(source: str, destination: str) -> None:
    token, from_token = (os.environ.get(name) for name in ("TOKEN", "FROM_TOKEN"))
    try:
        receipt = sluiceway.copy(
            source, destination, token=token, from_token=from_token, retries=8, on_progress=show
        )
    except sluiceway.SluiceError as error:
        sys.exit(f"\n{error.code}: {error.detail}")
    print(
        f"\nrestored {receipt.size} bytes, sha-256 {receipt.sha256}, in {receipt.seconds:.1f} s ({receipt.verdict})"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
