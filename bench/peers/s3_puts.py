"""Peers.

Boto3's upload_fileobj, or obstore's put, of a local file into a bucket, each with its own defaults.

Started once: `s3_puts.py boto3|obstore ENDPOINT BUCKET`. For each path on standard input it prints
the seconds that one took.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import boto3
import obstore
from botocore.config import Config
from obstore.store import S3Store

kind, endpoint, bucket = sys.argv[1:4]
user, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
client: Any = boto3.client(
    "s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"})
)
store = S3Store(
    bucket,
    endpoint=endpoint,
    access_key_id=user,
    secret_access_key=secret,
    region=os.environ["AWS_REGION"],
    virtual_hosted_style_request=False,
    client_options={"allow_http": True},
)
try:
    client.create_bucket(Bucket=bucket)
except client.exceptions.BucketAlreadyOwnedByYou:
    pass
print("ready", flush=True)
for number, line in enumerate(sys.stdin):
    key, began = f"{kind}-{number}", time.perf_counter()
    with open(line.strip(), "rb") as file:
        if kind == "boto3":
            client.upload_fileobj(file, bucket, key)
        else:
            obstore.put(store, key, file)
    print(time.perf_counter() - began, flush=True)
    client.delete_object(Bucket=bucket, Key=key)
