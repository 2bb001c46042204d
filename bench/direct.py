"""The disk's own limit: direct writes of 2 MiB by three threads, then fsync of file and folder.

The bytes lie in memory already; nothing is received or hashed. Prints one JSON line with the
seconds and this process's processor seconds. Run as `python3 -m bench.direct`.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import sys
import threading
import time
from pathlib import Path

__all__ = ["main", "write"]

BLOCK = 2 << 20
WRITERS = 3
ALIGNED = 4096


def write(path: Path, size: int) -> None:
    """A new file of `size` bytes, durable with its name when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o644)
    failed: list[OSError] = []
    offsets = iter(range(0, size, BLOCK))
    lock = threading.Lock()

    def work() -> None:
        with mmap.mmap(-1, BLOCK) as block:  # page-aligned, as direct writes need it
            block.write(os.urandom(1 << 16) * (BLOCK >> 16))
            try:
                while True:
                    with lock:
                        offset = next(offsets, None)
                    if offset is None:
                        return
                    count = -(-min(BLOCK, size - offset) // ALIGNED) * ALIGNED
                    with memoryview(block) as view, view[:count] as part:
                        os.pwrite(descriptor, part, offset)
            except OSError as error:
                failed.append(error)

    writers = [threading.Thread(target=work) for _ in range(WRITERS)]
    try:
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        if failed:
            raise failed[0]
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    asked = parser.parse_args(arguments)
    began, cpu = time.perf_counter(), time.process_time()
    write(asked.to, asked.size)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
