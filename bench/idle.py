"""The client process of idle connections: each makes one request, then says nothing more.

Prints one JSON line when all have their response, waits until standard input closes, then prints
how many are still open. Run as `python3 -m bench.idle`.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys

from bench.answer import connect, read_answer

__all__ = ["main", "still_open"]

MOST_SECONDS = 600


def still_open(connections: list[socket.socket]) -> int:
    """Connections on which nothing has arrived: neither an answer nor a hang-up."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN | select.POLLHUP)
    return len(connections) - len(poll.poll(0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--count", type=int, required=True)
    asked = parser.parse_args(arguments)
    request = f"GET {asked.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    connections = []
    for _ in range(asked.count):
        connection = connect(asked.port)
        connection.sendall(request)
        read_answer(connection)
        connections.append(connection)
    print(json.dumps({"alive": still_open(connections)}), flush=True)
    select.select([sys.stdin], [], [], MOST_SECONDS)
    print(json.dumps({"alive": still_open(connections)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
