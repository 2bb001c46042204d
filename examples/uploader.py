"""Uploads a file, raw or as a form, with progress. --profile shows where the client's time went.

    python uploader.py big.iso http://127.0.0.1:8000/files -t raw    # curl -T big.iso …/files/
    python uploader.py big.iso http://127.0.0.1:8000/files -t form   # curl -F file=@big.iso …/files
The profile is of this process and is written to CONTENT-TYPE_SIZE-bytes.txt.
"""

import argparse
import cProfile
import pstats
import sys
from contextlib import nullcontext

from sluiceway import Progress, SluiceError, copy


def show(now: Progress) -> None:
    line = f"\r{now.stage}: the server has {now.done} of {now.total} bytes"
    print(line.ljust(79), end="", file=sys.stderr, flush=True)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file")
parser.add_argument("url", help="of the collection, such as http://127.0.0.1:8000/files")
parser.add_argument("-t", "--type", choices=["raw", "form"], default="raw", help="how it is sent")
parser.add_argument("--profile", action="store_true")
given, profile = parser.parse_args(), cProfile.Profile()
raw = given.type == "raw"
kind, field = ("application/octet-stream", None) if raw else ("multipart/form-data", "file")
url = given.url.rstrip("/") + "/" if raw else given.url
print(f"uploading {given.file} by {given.type}", flush=True)
try:
    with profile if given.profile else nullcontext():
        receipt = copy(given.file, url, type=kind if raw else None, field=field, on_progress=show)
except SluiceError as error:
    sys.exit(f"\n{error.code}: {error.detail}")
print(f"\nuploaded {given.file} by {given.type}: {receipt.location} has {receipt.size} bytes")
if given.profile:
    with open(f"{kind.replace('/', '-')}_{receipt.size}-bytes.txt", "w") as file:
        pstats.Stats(profile, stream=file).sort_stats("cumulative").print_stats(50)
