"""paramiko's and fsspec's SFTP as this package needs them: no look follows a link, no name is lost.

paramiko fails at a name that is not UTF-8, and fsspec takes a pipe for a file. Here such a name
keeps its bytes as surrogates, and each thing has its own kind. Loaded when an SFTP place is opened.
"""

from __future__ import annotations

import importlib
import stat
from collections.abc import Callable
from typing import Any

__all__ = ["exact"]

SSH_FXP_NAME = 104  # a response that carries names


def exact(fs: Any) -> Any:
    """Give the file system a second channel of its connection, which sees links and keeps names."""
    fs.ftp.close()
    fs.ftp = _client(fs.client.get_transport())
    fs._decode_stat = _decoder(fs._decode_stat)
    return fs


def _client(transport: Any) -> Any:
    paramiko = importlib.import_module("paramiko")

    class Names(paramiko.Message):  # type: ignore[name-defined, misc]  # imported when it is needed
        def get_text(self) -> str:
            name: bytes = self.get_string()
            return name.decode("utf-8", "surrogateescape")

    class Client(paramiko.SFTPClient):  # type: ignore[name-defined, misc]
        def stat(self, path: str) -> Any:
            return self.lstat(path)

        def listdir_iter(self, path: str = ".", read_aheads: int = 50) -> Any:
            return self.listdir_attr(path)

        def _request(self, kind: Any, *values: Any) -> Any:
            response, message = super()._request(kind, *values)
            if response == SSH_FXP_NAME:
                message.__class__ = Names
            return response, message

    return Client.from_transport(transport)


def _decoder(plain: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def decode(found: Any, parent_path: str | None = None) -> dict[str, Any]:
        info = plain(found, parent_path)
        kind = stat.S_IFMT(found.st_mode)
        if kind and kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            info["type"] = "other"
        return info

    return decode
