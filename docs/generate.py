"""Writes the reference pages that are facts of the code: settings.md, errors.md, copy.md.

`--check` compares instead.

python docs/generate.py [--check]
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from pathlib import Path

from click.testing import CliRunner

import sluiceway.errors
from sluiceway.cli.copy import copy as command
from sluiceway.copying.api import copy
from sluiceway.errors import SluiceError
from sluiceway.server.settings import setting_help

HERE = Path(__file__).parent


def settings_page() -> str:
    lines = [
        "# Settings of `sluiceway serve`",
        "",
        "Each is an option, a variable and a line in `sluiceway.toml`; an option beats a variable,",
        "a variable beats the file. Sizes are bytes, or numbers with kB, MB, GB, TB (powers of",
        "1000) or KiB, MiB, GiB, TiB (powers of 1024).",
        "",
        "| option | variable | in the file | default | |",
        "|---|---|---|---|---|",
    ]
    for name, (default, text) in setting_help().items():
        flag = name.replace("_", "-")
        several = isinstance(default, tuple)
        value = (
            " ".join(default)
            if several
            else str(default).lower()
            if isinstance(default, bool)
            else default
        )
        shown = f"`{value}`" if value not in (None, "") else ""
        lines.append(f"| `--{flag}` | `SLUICEWAY_{name.upper()}` | `{name}` | {shown} | {text} |")
    lines += [
        "",
        "An option that can be repeated is a list in the file, and one value per line in a",
        "variable.",
        "",
    ]
    lines += [
        "```toml",
        "# sluiceway.toml",
        'to = "/srv/files"',
        'max_size = "50GiB"',
        'digest = "sha-256"',
        "```",
        "",
    ]
    return "\n".join(lines)


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        "Every error is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`",
        "(one sentence that says what to do) and `code`. Codes are stable: compare them, not the",
        "texts. The Python classes are in `sluiceway.errors`.",
        "",
        "| code | status | title | who must act | retry may help | class |",
        "|---|---|---|---|---|---|",
    ]
    for name in sluiceway.errors.__all__:
        kind = getattr(sluiceway.errors, name)
        if isinstance(kind, type) and issubclass(kind, SluiceError) and kind is not SluiceError:
            again = "yes" if kind.retryable else "no"
            own = kind in (sluiceway.errors.Refused, sluiceway.errors.UploadRefused)
            status = "its own" if own else kind.status
            lines.append(
                f"| `{kind.code}` | {status} | {kind.title} | {kind.fault} | {again} | `{name}` |"
            )
    return "\n".join([*lines, ""])


COPY = """# Copying

The command, its options and its exit codes:

```
{help}
```

Between two servers the bytes flow through this process and are not stored in it. If the connection
to the source breaks, and the source named a strong validator (`ETag`, or a `Last-Modified` that is
old enough), the rest is requested, and the destination does not notice. If the source has another
length or digest than it announced, or breaks off for good, the destination never gets a complete
request. (An HTTP response with neither a length nor chunks ends where its connection ends; no
client can distinguish that from a break.) `-H` and `--token` are for the destination,
`--from-header` and `--from-token` for the source. No header that could hold a secret follows a
redirect to another host.

An upload is retried if its connection broke, or it was answered 408, 429, 502, 503 or 504. Its
source must be readable again (a file; a URL with such a validator), and the request repeatable: a
PUT always, a form only if the server surely had not got all of it. If an upload cannot be repeated,
the error says why. Such an upload uses a new connection, because an open one may be closing.

Up to five redirects are followed. Cookies that a host sets on the way are sent to that host only.
An upload that is answered 303 is stored: the URL in the response is requested, and its status
decides. A `Location` that is not percent-encoded is encoded once. The headers of a response may
have 64 KiB.

The bar counts bytes of the file that the peer's kernel has acknowledged (on Linux; on other systems
the bytes that our own kernel took), and reaches 100 % only with the server's response. The
receipt's `stages` are seconds: `wait-for-source`, `queue` (our own work), `destination`
(connecting, and while it takes bytes), `wait-for-answer`. Their sum is `seconds`; `verdict` names
the largest.

A server that sends or takes nothing for `--timeout` seconds counts as gone. `HTTP_PROXY`,
`HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured as in curl (lower case wins; a password
stands in the proxy's URL; loopback is no exception unless `NO_PROXY` names it), by `copy` and by a
gateway's `--to`, never by `/fetch` and imports. `--ca-file` adds authorities to those of the system
or of `SSL_CERT_FILE`. A `--client-cert` is shown to the server that `--token` is for, and not after
a redirect to another.

User and password of a URL are sent with each request, or with `--auth digest` in response to a
challenge only (RFC 7616: SHA-512-256, SHA-256, MD5). The first request is then refused; before a
stream that can be read only once, that request is a GET.

`--curl` prints a line for a POSIX shell. Tokens, passwords and values that look like keys in a
header, field or query become `$SLUICEWAY_…` variables.

A folder without `-r` is copied file by file, and the first failure ends the copy. For many objects
between any two sides, with retries for each, a journal and a report, see [many.md](many.md).

The same in Python, which blocks until the destination has confirmed that it keeps everything:

```python
import sluiceway

receipt = sluiceway.copy("big.iso", "https://host.example/files", form={{"album": "42"}}, token="…")
print(receipt.location, receipt.size, receipt.sha256, receipt.answer)
```

In a program with an event loop, `await sluiceway.acopy(…)` takes the same arguments:

```
{arguments}
```

Both return a `sluiceway.Receipt`. `on_progress` gets a `sluiceway.Progress` about ten times a
second. Errors are `sluiceway.SluiceError`: compare the `code` ([errors.md](errors.md)), show the
text.
"""


def copy_page() -> str:
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(
        command, ["--help"], prog_name="sluiceway copy", terminal_width=100
    )
    documented = inspect.getdoc(copy) or ""
    arguments = documented.partition("Args:\n")[2].partition("\nReturns:")[0]
    return COPY.format(help=shown.output.strip(), arguments=textwrap.dedent(arguments).strip())


PAGES = {"settings.md": settings_page, "errors.md": errors_page, "copy.md": copy_page}


def main() -> int:
    stale = [
        name
        for name, page in PAGES.items()
        if not (HERE / name).exists() or (HERE / name).read_text("utf-8") != page()
    ]
    if "--check" in sys.argv:
        print("stale: " + ", ".join(stale) if stale else "up to date")
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(PAGES[name](), "utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
