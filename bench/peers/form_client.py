"""The client process of the `sending` rows.

A file as a form through requests, by our Form or by requests_toolbelt's encoder.

Runs in the bench's own environment. Prints seconds from the request to its response, bytes of the
files and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from typing import Any

import requests


def ours(path: str, times: int) -> tuple[Any, dict[str, str]]:
    from sluiceway import Form

    form = Form({"id": "42"})
    for _ in range(times):
        form.file("file", path, filename="upload.bin")
    return form, form.headers


def toolbelt(path: str, times: int) -> tuple[Any, dict[str, str]]:
    from requests_toolbelt import MultipartEncoder

    def fields() -> Iterator[tuple[str, object]]:
        yield "id", "42"
        for _ in range(times):
            yield "file", ("upload.bin", open(path, "rb"), "application/octet-stream")  # noqa: SIM115 - until the process ends

    encoder = MultipartEncoder(list(fields()))
    return encoder, {"Content-Type": encoder.content_type}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["ours", "toolbelt"])
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument(
        "--times", type=int, default=1, help="how often the file stands in the form"
    )
    asked = parser.parse_args()
    body, headers = (ours if asked.how == "ours" else toolbelt)(asked.path, asked.times)
    began = time.perf_counter()
    response = requests.post(asked.url, data=body, headers=headers, timeout=600)
    seconds = time.perf_counter() - began
    response.raise_for_status()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "bytes": os.path.getsize(asked.path) * asked.times,
                "peak_rss": peak,
            }
        )
    )


if __name__ == "__main__":
    main()
