"""Settings of a gateway that cannot work are refused when it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

WRONG: dict[str, tuple[str, ...]] = {
    "a lone brace": ("--relay-url", "/books/{id"),
    "a placeholder without name": ("--relay-url", "/books/{}"),
    "a template at another host": ("--relay-url", "http://other.example/{id}"),
    "a template at another host, without scheme": ("--relay-url", "//other.example/{id}"),
    "a placeholder as host": ("--to", "http://{id}.example/"),
    "a placeholder as port": ("--to", "http://example:{id}/"),
    "a placeholder as user": ("--to", "http://{id}@example/"),
    "no host": ("--to", "http:///x"),
    "a port that is none": ("--to", "http://me:s3cret@h:99999/"),
    "another protocol": ("--to", "ftp://me:s3cret@example/"),
    "a space": ("--to", "http://example/a b"),
    "a header without colon": ("--relay-header", "s3cret"),
    "a header with a line end": ("--relay-header", "X: s3cret\r\nY: z"),
    "a header with a space in its name": ("--relay-header", "X Y: s3cret"),
    "a header that frames": ("--relay-header", "Content-Length: 5"),
    "a header of the connection": ("--relay-header", "Transfer-Encoding: s3cret"),
    "a host": ("--relay-header", "Host: s3cret"),
    "a field without =": ("--relay-field", "s3cret"),
    "a field without name": ("--relay-field", "=s3cret"),
    "a method that is none": ("--relay-method", "put it"),
    "a body of another kind": ("--relay-body", "json"),
    "no time to connect": ("--relay-connect-timeout", "0"),
    "no number of seconds": ("--relay-idle-timeout", "nan"),
    "an endless answer": ("--relay-answer-timeout", "inf"),
    "an endless pause": ("--relay-pause", "inf"),
}


ALL = """
import contextlib, io, json, sys
from sluiceway.cli.main import main
results = []
for arguments in json.loads(sys.argv[1]):
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        try:
            main(["serve", "--port", "0", *arguments])
        except SystemExit as ended:
            results.append((ended.code, output.getvalue()))
print(json.dumps(results))
"""


def test_unusable_settings_are_refused_at_start() -> None:
    """Exit code 2 and one line that names the option, without possible secrets."""
    cases = [
        option if "--to" in option else ("--to", "http://example/x", *option)
        for option in WRONG.values()
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")}
    ended = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(cases)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=clean,
    )  # one process for all cases: each start takes half a second

    for (wrong, option), (code, text) in zip(WRONG.items(), json.loads(ended.stdout), strict=True):
        assert code == 2, f"{wrong}: {text}"
        assert text.startswith("sluiceway: "), wrong
        assert text.count("\n") == 1, wrong
        assert option[0] in text or "--to" in text, wrong
        assert "s3cret" not in text, wrong
