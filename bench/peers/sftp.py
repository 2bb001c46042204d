"""An SFTP server of the bench's own, on loopback.

Prints its port and known_hosts line, ends when its standard input does.

    python bench/peers/sftp.py FOLDER [PORT] [plain]

The user is `files`, the password `secret`; FOLDER is its root. Its key stays beside FOLDER, so that
a server started again is the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import asyncssh


class Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("files", "secret")


class Plain(asyncssh.SFTPServer):
    """Without OpenSSH's posix-rename: a rename cannot replace a file."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise asyncssh.SFTPOpUnsupported("not here")


def key_of(folder: Path) -> asyncssh.SSHKey:
    path = folder.with_name(folder.name + ".key")
    if not path.exists():
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(path)
    return asyncssh.read_private_key(path)


async def main(folder: Path, port: int, kind: type[asyncssh.SFTPServer]) -> None:
    key = key_of(folder)

    def sftp(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return kind(channel, chroot=str(folder).encode())

    async with await asyncssh.listen(
        "127.0.0.1", port, server_factory=Login, server_host_keys=[key], sftp_factory=sftp
    ) as server:
        port = server.sockets[0].getsockname()[1]
        print(port, f"[127.0.0.1]:{port}", key.export_public_key().decode().strip(), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        kind_of_server = Plain if "plain" in sys.argv else asyncssh.SFTPServer
        asyncio.run(
            main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, kind_of_server)
        )
