"""Restores a backup from object storage into a REST API, without disk and in constant memory.

    python restore.py 'https://bucket.s3.example/backup.tar?X-Amz-Signature=…' https://api.example/files/backup.tar
    # without retries, without a digest, and a broken source becomes a complete file:
    curl -s SOURCE | curl -T - DESTINATION

A signed URL needs no library for the storage. The variables TOKEN and FROM_TOKEN are bearer tokens
for the destination and for the source.
"""

import os
import sys

import sluiceway


def show(now: sluiceway.Progress) -> None:
    """The peer's kernel has acknowledged `done` bytes; only the receipt says that they are kept."""
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
        f"\nrestored {receipt.size} bytes, sha-256 {receipt.sha256}, in {receipt.seconds:.1f} s "
        f"({receipt.verdict})"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
