"""Uploads a folder into a new bucket with boto3, so no contender's metadata is on it.

`s3_stock.py ENDPOINT BUCKET PREFIX FOLDER`.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

endpoint, bucket, prefix, folder = sys.argv[1:5]
client = boto3.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}))
client.create_bucket(Bucket=bucket)


def put(path: Path) -> None:
    client.put_object(
        Bucket=bucket, Key=prefix + path.relative_to(folder).as_posix(), Body=path.read_bytes()
    )


with ThreadPoolExecutor(4) as pool:
    for _ in pool.map(put, [path for path in Path(folder).rglob("*") if path.is_file()]):
        pass
