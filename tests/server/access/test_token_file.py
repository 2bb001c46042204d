"""The token file: its two forms, what is refused with which words, and edits that keep the rest."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.requests import Request

from sluiceway.errors import NotFound, Unauthorized, Unavailable
from sluiceway.pipe.file_lock import HAS_LOCKS, lock_file
from sluiceway.server.access import owned_file
from sluiceway.server.access.door import MOST_WAITING, Door
from sluiceway.server.access.link_keys import add_key, read_link_keys
from sluiceway.server.access.named_tokens import parse_tokens
from sluiceway.server.access.token_editing import add_token, listed_tokens, remove_token
from sluiceway.server.access.token_file import read_tokens, watched_tokens
from sluiceway.server.access.token_hashes import hash_password, hash_secret, parse_hash
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting, is_single
from sluiceway.uploads.access.grant import Right

SECRET = "a-secret-of-some-length"
HASH = hash_secret(SECRET)
LINES = f"""\
# who may do what
alice  {HASH}  upload-only  prefix=alice/  max-size=1GiB  expires=2027-01-31

bob  another-long-secret  read-only
"""
TOML = f"""\
# who may do what
[alice]
hash = "{HASH}"
rights = ["upload"]
prefix = "alice/"
max_size = "1GiB"
expires = 2027-01-31

["bob"]  # reads
secret = "another-long-secret"
rights = "read,list"
"""


@pytest.mark.parametrize("text", [LINES, TOML], ids=["lines", "toml"])
def test_lines_and_tables_say_the_same(text: str) -> None:
    alice, bob = parse_tokens(text)
    assert alice.secret == hashlib.sha256(SECRET.encode()).digest()
    assert alice.grant.rights == {Right.UPLOAD}
    assert (alice.grant.prefix, alice.grant.max_size) == ("alice/", 1 << 30)
    assert alice.grant.expires == 1801353600.0
    assert (bob.name, bob.grant.owner) == ("bob", "bob")
    assert bob.grant.rights == {Right.READ, Right.LIST}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"alice {HASH}", "NAME SECRET RIGHTS"),
        (f"alice {HASH} uplod", "no right 'uplod'"),
        (f"alice {HASH} upload,", "no right ''"),
        ("alice short upload", "guessed"),
        ("alice sha256:12 upload", "hash cannot be read"),
        ("alice scrypt:32768:aa:aa upload", "hash cannot be read"),
        (f"../alice {HASH} upload", "a name has"),
        (f"{'a' * 65} {HASH} upload", "a name has"),
        (f"alice {HASH} upload prefix=alice", "ends in /"),
        (f"alice {HASH} upload prefix=../", "is a folder"),
        (f"alice {HASH} upload prefix=/", "is a folder"),
        (f"alice {HASH} upload max-size=lots", "max-size"),
        (f"alice {HASH} upload expires=tomorrow", "expires"),
        (f"alice {HASH} upload colour=red", "limits are"),
        (f"alice {HASH} upload prefix=a/ prefix=b/", "each once"),
        (f"alice {HASH} admin prefix=a/", "admin opens everything"),
        (f"alice {HASH} upload\nalice {hash_secret('x')} read", "twice"),
        (f"alice {HASH} upload\nbob {SECRET} read", "same secret"),
        ("[alice]\nrights = 'upload'", "secret and hash"),
        (f"[alice]\nhash = '{HASH}'\nrights = 1", "list of words"),
        (f"[alice]\nhash = '{HASH}'\nrights = 'upload'\ncolor = 1", "no 'color'"),
        ("[alice", "not TOML"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(line: str, words: str) -> None:
    """The words name the place, and never the secret."""
    with pytest.raises(BadSetting) as refused:
        parse_tokens(line)
    assert words in refused.value.detail
    assert SECRET not in refused.value.detail
    assert HASH[7:] not in refused.value.detail


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    path.write_text(LINES)
    path.chmod(mode)
    with pytest.raises(BadSetting, match="chmod 600"):
        read_tokens(str(path))
    path.chmod(0o400)
    assert len(read_tokens(str(path))) == 2


def test_a_pipe_is_refused_and_waits_for_nobody(tmp_path: Path) -> None:
    """That of `--token-file <(gpg -d tokens.gpg)` can be read once only."""
    path = tmp_path / "tokens"
    os.mkfifo(path, 0o600)
    for read in (read_tokens, is_single):
        with pytest.raises(BadSetting, match="write it to a file"):
            read(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_file_of_root_for_the_servers_group_is_read(tmp_path: Path) -> None:
    """Kubernetes mounts secrets so: there is no other way in for a server that is not root."""
    path = tmp_path / "tokens"
    path.write_text(LINES)
    os.chown(path, 12345, -1)
    path.chmod(0o440)
    assert len(read_tokens(str(path))) == 2
    for mode in (0o444, 0o460):
        path.chmod(mode)
        with pytest.raises(BadSetting, match="other users"):
            read_tokens(str(path))


def test_one_secret_alone_stays_the_admins(tmp_path: Path) -> None:
    """A file with names is kept as a path, because it may change; one secret is read once."""
    path = tmp_path / "tokens"
    path.write_text(SECRET + "\n")
    assert Settings(token_file=str(path)).token == SECRET
    path.write_text(LINES)
    path.chmod(0o600)
    settings = Settings(token_file=str(path), token="the-token-of-the-admin")
    assert (settings.token, settings.token_file) == ("the-token-of-the-admin", str(path))
    assert Settings(token_file=str(path), host="0.0.0.0").has_tokens  # closed beyond loopback


def test_a_password_is_hashed_with_a_cost() -> None:
    hashed = parse_hash(hash_password("correct horse"))
    assert not isinstance(hashed, bytes)
    assert hashed.fits(b"correct horse")
    assert not hashed.fits(b"correct house")


@pytest.mark.parametrize("name", ["", "ev il", "#eve", "[eve]", f"eve {HASH} admin #", "e\nf"])
def test_a_name_that_says_more_than_a_name_is_refused(tmp_path: Path, name: str) -> None:
    """A script may give the name of a user who chose it."""
    path = tmp_path / "tokens"
    with pytest.raises(BadSetting, match="a name has 1 to"):
        add_token(str(path), name, hash_secret("c"), "upload", {})
    assert not path.exists()
    for limits in ({"prefix": "a/ max-size=1"}, {"prefix": "a/ #"}, {"prefix": "a/\nb c admin"}):
        with pytest.raises(BadSetting):
            add_token(str(path), "eve", hash_secret("c"), "upload", limits)
        assert not path.exists()


@pytest.mark.parametrize("text", ["", LINES, TOML], ids=["new", "lines", "toml"])
def test_an_edit_leaves_the_rest_as_it_was(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    if text:
        path.write_text(text)
        path.chmod(0o600)
    add_token(str(path), "carol.x", hash_secret("c"), "upload,read", {"prefix": "carol/"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith(text)
    assert listed_tokens(str(path))[-1].grant.prefix == "carol/"
    with pytest.raises(BadSetting, match="already"):
        add_token(str(path), "carol.x", hash_secret("d"), "read", {})
    if not text:
        with pytest.raises(BadSetting, match="last name"):  # a server would go on with it
            remove_token(str(path), "carol.x")
        add_token(str(path), "dave", hash_secret("d"), "read", {})
        text = path.read_text().splitlines()[1]
    remove_token(str(path), "carol.x")
    assert path.read_text().strip() == text.strip()
    with pytest.raises(NotFound):
        remove_token(str(path), "carol.x")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not HAS_LOCKS, reason="without locks the last one counts")
def test_of_edits_at_once_none_is_lost(tmp_path: Path) -> None:
    """Names and keys alike, also where there is no file yet."""
    tokens, keys = str(tmp_path / "tokens"), str(tmp_path / "keys")

    def add(number: int) -> str:
        add_token(tokens, f"n{number}", hash_secret(str(number)), "upload", {})
        return add_key(keys)

    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(add, range(8))]
    assert {token.name for token in listed_tokens(tokens)} == {f"n{each}" for each in range(8)}
    assert sorted(key.name for key in read_link_keys(keys).keys) == sorted(made)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not HAS_LOCKS, reason="there are no locks to wait for")
def test_an_edit_waits_for_another_program_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned_file, "EDIT_WAIT", 0.0)
    folder = os.open(tmp_path, os.O_RDONLY)
    lock_file(folder)
    with pytest.raises(Unavailable, match="holds the folder"):
        add_key(str(tmp_path / "keys"))
    os.close(folder)
    add_key(str(tmp_path / "keys"))


@pytest.mark.parametrize(
    ("rights", "limits", "words"),
    [
        ("foo", {}, "--rights: there is no right 'foo'"),
        ("upload", {"prefix": "acme"}, "--prefix is a folder and ends in /: bob/"),
        ("upload", {"quota": "-5"}, "--quota must be a number of bytes"),
        ("upload", {"expires": "soon"}, "--expires is a date or a time"),
        ("upload", {"expires": "2020-01-31"}, "--expires 2020-01-31 is over already"),
    ],
)
def test_what_was_typed_is_named_as_it_was_typed(
    tmp_path: Path, rights: str, limits: dict[str, str], words: str
) -> None:
    """The user wrote options, and no line of a file."""
    path = tmp_path / "tokens"
    with pytest.raises(BadSetting) as refused:
        add_token(str(path), "bob", HASH, rights, limits)
    assert refused.value.detail.startswith(words)
    assert not path.exists()


def test_a_bad_new_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once in the log, and the tokens before stay; a good one counts again."""
    path = tmp_path / "tokens"
    path.write_text(LINES)
    path.chmod(0o600)
    file = watched_tokens(str(path))
    path.write_text("alice uplod")
    file.look_again()
    assert not file.changed()
    assert [token.name for token in file.value] == ["alice", "bob"]
    assert "the tokens stay as they were" in caplog.text
    for nobody in ("", "# all gone\n", "\n# so\n  # too\n"):  # as a full disk leaves it
        path.write_text(nobody)
        with pytest.raises(BadSetting, match="no name"):
            read_tokens(str(path))
        file.look_again()
        assert not file.changed()
        assert "the tokens stay as they were: --token-file" in caplog.text.splitlines()[-1]
    path.unlink()
    file.look_again()
    assert not file.changed()
    path.write_text(f"carol {HASH} read")
    path.chmod(0o600)
    file.look_again()
    assert file.changed()
    assert [token.name for token in file.value] == ["carol"]


def test_passwords_that_wait_are_bounded(tmp_path: Path) -> None:
    """Each costs a tenth of a second of a processor: one is tried at a time."""
    path = tmp_path / "tokens"
    path.write_text(f"carol {hash_password('correct horse')} read")
    path.chmod(0o600)
    door = Door(Settings(token_file=str(path)))
    credentials = b"Basic " + base64.b64encode(b"carol:wrong")
    headers = [(b"authorization", credentials)]
    request = Request({"type": "http", "headers": headers})

    async def flood() -> None:
        async with door._trying:
            waiting = [asyncio.create_task(door.grant(request, "/")) for _ in range(MOST_WAITING)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                await door.grant(request, "/")
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        with pytest.raises(Unauthorized):
            await door.grant(request, "/")

    asyncio.run(flood())
