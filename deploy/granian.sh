#!/bin/sh
# deploy/granian.sh [OPTIONS]: the service on granian 2.8.1 or newer, by its ASGI interface.
# docs/deploy.md explains each option.
set -eu
# --http 1: the proxy in front does HTTP/2.
# One worker: only the process that receives an upload knows its progress.
exec granian --interface asgi --http 1 --no-ws \
    --host 127.0.0.1 --port 8000 \
    --workers 1 --backlog 2048 --backpressure 2048 \
    --workers-kill-timeout 300 \
    --working-dir "$(dirname "$0")" \
    "$@" asgi_app:app
