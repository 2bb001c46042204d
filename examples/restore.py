"""Restores a backup from object storage into a REST API, without disk and in constant memory.

    python restore.py 'https://b.s3.example/x.tar?X-Amz-Signature=…' https://api.example/x.tar

`curl -s SOURCE | curl -T - DESTINATION` has no retries and no digest, and stores a broken source
as a complete file. A signed URL needs no library for the storage. The variables TOKEN and
FROM_TOKEN are bearer tokens for the destination and for the source.
"""

import os
import sys

import sluiceway


def show(now: sluiceway.Progress) -> None:
    """The peer's kernel has acknowledged `done` bytes; only the receipt says that they are kept."""
    of = "" if now.total is None else f" of {now.total}"
    line = f"\r{now.stage} {now.done}{of} bytes {now.note}"
    print(line.ljust(79), end="", file=sys.stderr, flush=True)


def main(source: str, destination: str) -> None:
    token, from_token = (os.environ.get(name) for name in ("TOKEN", "FROM_TOKEN"))
    try:
        receipt = sluiceway.copy(
            source, destination, token=token, from_token=from_token, retries=8, on_progress=show
        )
    except sluiceway.SluiceError as error:
        sys.exit(f"\n{error.code}: {error.detail}")
    took = f"{receipt.seconds:.1f} s ({receipt.verdict})"
    print(f"\nrestored {receipt.size} bytes, sha-256 {receipt.sha256}, in {took}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
