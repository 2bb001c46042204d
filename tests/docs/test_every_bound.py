"""A bound (MOST…, LARGEST…, LONGEST…) has a row in docs/limits.md, or a reason here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "sluiceway"
BOUND = re.compile(r"(MOST|LARGEST|LONGEST)(_|$)")

NOT_OF_A_CLIENT = {
    "cli.": "what the operator's own terminal shows",
    "testing.": "what tests try",
}
REASONS = {
    "server.hooks.command:MOST_LOGGED": "cuts what is logged",
    "server.settings.hooking:MOST_TIMEOUT": "of a setting",
    "wire.events.cloud_events:MOST_SOURCE": "of a setting",
    "client.local.believed_sizes:MOST_DOUBTED": "of a file on the machine that copies",
    "client.http.sending_socket:MOST_FRAMES": "of this program's own calls",
    "client.doctor.exchange:MOST_BODY": "of responses to probes that this side sends",
    "client.doctor.exchange:MOST_TIMES": "of responses to probes that this side sends",
    "client.doctor.probes:MOST_EVENTS": "of responses to probes that this side sends",
    "client.doctor.exchange:MOST_RAW": "of responses to probes that this side sends",
    "client.doctor.tls_probe:MOST_SETTINGS": "of responses to probes that this side sends",
    "client.http.cookies:MOST_TOTAL": "of a request that this side sends",
    "wire.host_patterns:MOST_HOST": "of a setting",
    "copying.servers:MOST_TIMEOUT": "of a setting",
    "client.local.part_notes:MOST_NOTES": "of a file of this program's own",
    "copying.name_forms:MOST_LATE": "of the machine of the one who copies",
    "copying.engine:MOST_SIDE_FAILURES": "of attempts that this side makes",
    "copying.endpoints.http_together:MOST_LINES": "of what this side asks for",
    "wire.together:MOST_QUERY": "of what this side asks for",
    "copying.endpoints.http_source:MOST_EMPTY": "of what this side asks for",
    "copying.endpoints.http_source:MOST_OMITTED": "cuts what is shown to people",
    "copying.endpoints.folder_walk:MOST_OPEN": "of a folder on the machine of the one who copies",
    "archives.zip_writer:MOST_LINE": "cuts what is shown to people",
    "archives.zip_writer:MOST_NAME": "what a zip's format can hold",
    "archives.zip_writer:MOST_NAMED": "cuts what is shown to people",
    "pipe.descriptors:MOST_CAUSES": "of errors of libraries on this side",
    "server.remote:MOST_LOGGED": "as server.log.access:MOST_LOGGED",
    "server.settings.guarded:LARGEST_TOKEN": "of a setting",
    "server.access.owned_file:LARGEST_FILE": "of a setting",
    "uploads.access.links:MOST_FIELDS": "of what the operator's key signs",
    "server.access.named_tokens:MOST_TOKENS": "of a setting",
    "server.access.named_tokens:LONGEST_NAME": "of a setting",
    "server.access.token_hashes:MOST_COST": "of a setting",
    "server.access.door:MOST_REMEMBERED": "a password that is forgotten is checked again",
    "uploads.service:MOST_VIEWS": "what is dropped is made again",
    "server.page.branding:LARGEST_LOGO": "of a setting",
    "server.page.branding:LARGEST_STYLE": "of a setting",
    "server.page.branding:LONGEST_TITLE": "of a setting",
    "server.page.branding:MOST_CONNECTIONS": "of a setting",
    "server.http1.message_end:MOST_LINE": "a longer line is read in another way, at the same cost",
    "server.http1.message_end:MOST_WALKED": "more chunks are read in another way, at the same cost",
    "server.listening.handover:MOST_MESSAGE": "of a server of the same user",
    "server.listening.handover:MOST_DESCRIPTORS": "of a server of the same user",
    "server.listening.systemd:MOST": "of the supervisor",
    "server.http1.head_limits:MOST_METHOD": "cuts what is shown to people",
    "server.http1.head_limits:MOST_LINE": "of a line that is refused in any case",
    "server.operator_log:MOST_NAMED": "cuts what is shown to people",
    "server.operator_log:MOST_REMEMBERED": "cuts what is logged",
    "wsgi.body:LONGEST_READ": "one read of a body, whose length is the server's choice",
    "stores.browsing:MOST_OMITTED": "cuts what is shown to people",
    "stores.metadata_json:LONGEST_TYPE": "as wire.headers.media_types:MOST_TYPE",
    "stores.disk.metadata:LARGEST_NOTE": "follows from stores.values:MOST_METADATA",
    "stores.fsspec.versions:MOST_RECENT": "keys remembered for a second",
    "stores.fsspec.metadata:LARGEST_NOTE": "follows from stores.values:MOST_METADATA",
    "stores.fsspec.errors:LONGEST_TEXT": "cuts what is shown to people",
    "stores.relay.spool.rules:MOST_WAIT": "of tries that this side makes",
    "stores.relay.spool.rules:MOST_ASKED": "of tries that this side makes",
    "stores.relay.spool.notes:MOST_NOTE": "of a file of this program's own",
    "stores.objects.store:LONGEST_LINK": "of a setting",
    "stores.objects.errors:MOST_CAUSES": "of errors of libraries on this side",
    "stores.objects.metadata:MOST_NOTE": "follows from the length of keys",
    "stores.objects.config:MOST_CERTIFICATES": "of a setting",
    "uploads.elsewhere.postgres_channel:MOST_BYTES": "of what this side sends",
    "uploads.elsewhere.exchange:MOST_ASKED": "of servers that share a ledger",
    "uploads.resumable.service:MOST_DIGESTS": "beyond it the kept bytes are read again",
    "wire.forms.encoder:MOST_OWN": "of what this side sends",
    "wire.names:MOST_EXTENSION_BYTES": "within wire.names:MOST_NAME_BYTES",
}


def bounds() -> set[str]:
    found = set()
    for path in SOURCE.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.parse(path.read_text("utf-8")).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            found |= {
                f"{module}:{one.id}"
                for one in targets
                if isinstance(one, ast.Name) and BOUND.match(one.id)
            }
    return {place for place in found if not place.startswith(tuple(NOT_OF_A_CLIENT))}


def test_every_bound_is_documented() -> None:
    """A new one gets a row in docs/limits.md.

    What, how much, its setting, what happens beyond, and the test that proves it.
    """
    documented = set(
        re.findall(r"`([\w.]+:[\w.]+)`", (ROOT / "docs" / "limits.md").read_text("utf-8"))
    )

    assert sorted(bounds() - documented - set(REASONS)) == []


def test_no_reason_is_left_over() -> None:
    """A bound that went, or that is documented now, needs no reason."""
    documented = set(
        re.findall(r"`([\w.]+:[\w.]+)`", (ROOT / "docs" / "limits.md").read_text("utf-8"))
    )

    assert sorted(set(REASONS) - bounds()) == []
    assert sorted(set(REASONS) & documented) == []
