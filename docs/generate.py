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
from sluiceway.server.mounted.hooks import HookFailed
from sluiceway.server.settings.listed import setting_help
from sluiceway.wire.tus import UnsupportedVersion

HERE = Path(__file__).parent
# Errors with a code of their own that are of one protocol or one room alone
ELSEWHERE = (UnsupportedVersion, HookFailed)


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
        "variable. A variable that begins with `SLUICEWAY_` and is no setting is ignored, with a",
        "warning at the start and in `sluiceway check`; an unknown name in the file is an error.",
        "An error of a value names the variable or the file that it comes from.",
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
        "texts. The Python classes are in `sluiceway.errors`, those with dots in `sluiceway`.",
        "",
        "| code | status | title | who must act | retry may help | class |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {name: getattr(sluiceway.errors, name) for name in sluiceway.errors.__all__}
    for kind in ELSEWHERE:
        kinds[f"{kind.__module__.removeprefix('sluiceway.')}.{kind.__name__}"] = kind
    for name, kind in kinds.items():
        if isinstance(kind, type) and issubclass(kind, SluiceError) and kind is not SluiceError:
            again = "yes" if kind.retryable else "no"
            own = kind in (sluiceway.errors.Refused, sluiceway.errors.UploadRefused)
            status = "its own" if own else kind.status
            lines.append(
                f"| `{kind.code}` | {status} | {kind.title} | {kind.fault} | {again} | `{name}` |"
            )
    lines += [
        "",
        "`over-quota` is the quota of a name or a link. Beyond `--quota` of all together,",
        "and below `--keep-free` it is `no-space` ([access.md](access.md#quotas)).",
    ]
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

**A large upload goes on where it stopped.** `copy` asks a server by OPTIONS what it takes (once a
copy). Where that is IETF resumable uploads, as at servers of this project, or tus, a file of 2 MiB
or more is created first and then sent in one PATCH. If the connection breaks, `copy` asks how far
the server is and sends the rest; the name, `--force` and the digest mean what they mean in a PUT. A
smaller file is one request, and resumable once that broke. The steps are retried as `--retries`
says, with random waits; each new byte starts the count again, so a line that cuts every connection
after 100 MB takes a file of any size. Offset conflicts (409) and locks (423) are asked again. A
server that has lost the upload (404, 410) gets the file from its beginning, and `copy` says so.
Behind a proxy that refuses large bodies (413), pieces become smaller, down to 512 KiB.

Any other response to OPTIONS (401, 405, 500, a redirect to a page) means one request a file, which
then meets what the server has to say. A server that stays silent is waited for once, for 10 s at
most, and asked again only when an upload to it broke off. A form at a URL with `?name=` is one
request too.

**After a kill, a reboot or `^C`, run the same command again.** The URL of an upload under way is
noted in the user's state folder (`$XDG_STATE_HOME/sluiceway/uploads`), for 14 days, readable by the
user alone. The note belongs to the file (path, device, inode, size, time) and to the destination. A
file that changed is sent from its beginning, and `copy` says so. Two copies of one file to one
place do not disturb each other: the second has an upload of its own. The digest needs all bytes, so
a second run reads what was sent before; `--digest none` does not. Pipes, standard input, commands
and forms with fields cannot be resumed by another run, and on Windows, which lacks these locks, no
file can. `--no-resume` (`resume=False`) sends one request and notes nothing. A tus server picks the
object's URL itself, and may know no condition on what is there.

**`--parallel N` moves one large object in N parts at once**, for lines on which one connection is
slow. Each part is retried alone, all together are as fast as `--limit-rate` allows, and the bar is
their sum.

- To a server of tus that has the extension concatenation, as this project's: N uploads that the
  server joins at the end. Each goes on at its own offset, in the next run too. This project's
  servers take them under a name of your own (PUT), too. The digest is counted beside it,
  from the same file, so another source than a file needs `--digest none`. If the response of the
  join is lost, a server of this project is asked once more, in the next run too, and names the one
  object that it made ([resumable.md](resumable.md)). tus has no such question: at another server
  the copy fails, in words, since a second join could make a second object.
- To `s3://`: N parts of the multipart upload travel at once (without the option up to four, in less
  memory). Each needs up to 32 MiB of memory.
- From a server that answers ranges to a file: N ranges, each written at its place. They are one
  file of one version (`If-Range`): if it changes meanwhile, it comes again from its start. The
  digest is counted at the end, from the disk. A killed copy goes on in each range, without the
  option behind the first gap.

Everything else is one piece: `gs://`, `az://`, databases, fsspec, standard output, folders and
files that do not come from a server, `-r` from a server, uploads to a server that joins no parts or
with `--no-resume`, forms with fields, and sources without a length or that can be read only once.
`copy` says that once, with the reason, of the first object that is large enough (with `-r` at a
terminal). Objects below 2 MiB (uploads) and 4 MiB (downloads) are one piece without a word.

**Buckets, databases and folders, too.** In `s3://`, `postgresql://` and `sqlite://` an object of 8
MiB or more is a draft that a bookmark names. S3 keeps whole parts: each kill costs the parts that
were in flight, up to four (or N) of 5 to 16 MiB, which can be much of an object of few parts. A
database is asked to commit 64 times an object, or every second, and a kill costs what came since;
an error or `^C` costs nothing of what arrived. What several kills together send twice to a database
was not counted. A folder keeps a hidden part file beside the target (`.sluiceway-….part`), from 2
MiB on, whatever the source is: another server, a bucket, a database, a folder with `-r`. Its bytes
count up to the last one while the machine runs, and after a power cut up to the last sync. In all
cases the source must be the same: a file's device, inode, size and time, or the ETag of an object.
A draft that its destination has lost begins anew, in words. What has no version or cannot be read
from its middle (pipes, commands, zips, tars, a server without ranges) begins anew too, without a
word. So do `gs://`, `az://` and fsspec, which keep nothing of an upload that stops; `copy` says so
when the same command runs again (a bookmark remembers that an object of 8 MiB or more was on its
way).

If the same command is never run again, the draft stays for a while. `sluiceway sweep` (and a server
on the same place) removes drafts of copies from a bucket and a database after 30 days without a
byte, and never before; a bookmark lives for 14. With `--no-resume` nothing is noted and nothing
stays.

An upload in one request is retried if its connection broke, or it was answered 408, 429, 502, 503
or 504. Its source must be readable again (a file; a URL with such a validator), and the request
repeatable: a PUT always, a form only if the server surely had not got all of it. If an upload
cannot be repeated, the error says why. Such an upload uses a new connection, because an open one
may be closing.

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
or of `SSL_CERT_FILE`. A server with a certificate of its own or of a private authority ends in
"the server's certificate is not trusted: self-signed certificate; name the file (PEM) of its
authority with --ca-file"; a self-signed certificate is its own authority. A `--client-cert` is
shown to the server that `--token` is for, and not after a redirect to another.

User and password of a URL are sent with each request, or with `--auth digest` in response to a
challenge only (RFC 7616: SHA-512-256, SHA-256, MD5). The first request is then refused; before a
stream that can be read only once, that request is a GET.

`--curl` prints a line for a POSIX shell. Tokens, passwords and values that look like keys in a
header, field or query become `$SLUICEWAY_…` variables.

## What `--force` covers

Nothing is replaced unasked. Without `--force` (`force=True` in Python):

- A path or a folder: the file is created under a name that is free, in one step.
- A bucket, a database, fsspec: the store refuses a key that is taken, as its traits promise
  ([stores.md](stores.md)).
- A URL (PUT): `If-None-Match: *` is sent. This project's server, S3, Azure and most WebDAV servers
  answer 412, before the body where they can. A server that ignores the header (nginx's dav module,
  many APIs) replaces what is there: HTTP has no other way to forbid it.
- A form (POST): the server picks the key.
- `-r`: the copy compares first. The same bytes are skipped, others are an error.

With `--force` the request has no condition. An `If-Match` or `If-None-Match` of your own (`-H`) is
sent as it is. If the answer to an upload was lost, the second attempt may be told that the key is
taken; the copy then reads what is there, and the same bytes are a success.

An address to which no connection was ever made is probably wrong: it is an error at once. Once a
server was reached, it is waited for, as `--retries` says.

## What is fast when

The middle of a large file goes round the program's event loop. That takes plain HTTP, a known
length and 4 MiB or more. With TLS, with `--limit-rate`, from a pipe, in chunks and on Windows the
bytes go the ordinary way, which takes more processor time.

- From a file to a server with `--digest none`, on Linux the kernel sends the file (sendfile).
- With a digest, a thread reads, hashes and sends blocks of 256 KiB to 2 MiB.
- From a server to a file, a thread receives, hashes and writes blocks of 2 MiB, on Linux around the
  page cache. Each is written while it is hashed.
- From server to server, a thread receives, hashes and sends.
- With `-r` the same holds for each large object; small ones share requests and threads
  ([many.md](many.md)).

What it costs, and why:

- `--digest none` leaves out SHA-256, which takes 0.6 seconds a gigabyte and is most of an upload's
  processor time. Digests that the source names are checked all the same. A server of this kind
  still counts its own.
- A file that is sent by the kernel is sent as it is when its bytes leave, not when they were read.
  So the program waits until the other side has acknowledged them before it looks whether the file
  changed; the last MiB is withheld until then, as ever.
- curl does not `fsync` what it downloads. This program does, file and folder, before the file gets
  its name: what it calls done survives a power cut.
- A resumable upload costs one question a copy (OPTIONS), and for each file a creation and the
  ledger's syncs. With files of 2 MiB over loopback that was 10.0 ms of the client's processor
  instead of 6.5 and 14 of the server's instead of 7.5 a file; at 32 MiB 8 % and 17 % more. So
  smaller files are one request, and `--no-resume` saves it for the others.
- Starting took 0.4 seconds of a processor on a busy machine, and sending 1 GiB by the kernel 0.13:
  for many small files use `-r`, not one command for each.

## Look and delete

```sh
sluiceway ls s3://bucket/photos/                 # folder by folder, as a path is listed
sluiceway ls -r --json sqlite:///files.db        # everything, one JSON object per line
sluiceway ls --bytes https://host/files/2026/
sluiceway rm https://host/files/2026/a.txt
sluiceway rm -r --yes 'postgresql://host/database/2025/?table=files'
```

Both take a place or a server, `--token`, `-H` and `--store-option`. A listing needs no more memory
for a million objects, and skips folders instead of reading them. `rm -r` asks at a terminal, and
elsewhere needs `--yes`. The exit code is 3 where there is nothing, and 6 where something could not
be listed or deleted.

## More on copies

A folder without `-r` is copied file by file, and the first failure ends the copy. For many objects
between any two sides, with retries for each, a journal and a report, see [many.md](many.md).

The same in Python, which blocks until the destination has confirmed that it keeps everything:

```python
import sluiceway

receipt = sluiceway.copy("big.iso", "https://host.example/files", form={{"album": "42"}}, token="…")
print(receipt.location, receipt.size, receipt.sha256, receipt.answer)
```

What a program has in hand is a source as well: an open file (read from its position, and closed by
you), bytes, an iterable of bytes, a form's file of a framework. A file's own name and type come
along; for bytes give `name=` where the URL ends in `/`. A file that can seek has a length and can
be sent again; with any other one `size=` announces the length. Files that are open as text are
refused.

```python
import sluiceway

with open("big.iso", "rb") as file:
    sluiceway.copy(file, "s3://backups/", store_option={{"endpoint": "https://s3.example"}})
sluiceway.copy(b"hello", "https://host.example/files/hello.txt", force=True)
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
