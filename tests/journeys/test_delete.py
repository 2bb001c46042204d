"""DELETE /files/{key}: removes the object once, respects conditions, removes empty folders."""

from __future__ import annotations

import threading

import requests

from fix_server import RunningServer


def put(server: RunningServer, key: str, data: bytes = b"x") -> requests.Response:
    return requests.put(f"{server.url}/files/{key}", data=data, timeout=10)


def delete(server: RunningServer, key: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.delete(f"{server.url}/files/{key}", headers=named, timeout=10).status_code


def test_a_second_delete_is_404(taker: RunningServer) -> None:
    """204 without a body, then 404; its empty folders go too."""
    put(taker, "del/deep/er")
    response = requests.delete(f"{taker.url}/files/del/deep/er", timeout=10)

    assert (response.status_code, response.content) == (204, b"")
    assert delete(taker, "del/deep/er") == 404
    assert requests.get(f"{taker.url}/files/del/deep/er", timeout=10).status_code == 404
    assert not (taker.root / "del").exists()


def test_a_folder_is_not_deleted(taker: RunningServer) -> None:
    """Keys name objects; the objects below a folder stay."""
    put(taker, "folder/inside")

    assert delete(taker, "folder") == 404
    assert delete(taker, "folder/") == 404
    assert requests.get(f"{taker.url}/files/folder/inside", timeout=10).status_code == 200


def test_conditions_guard_a_delete(taker: RunningServer) -> None:
    """Only the named version is deleted; a missing object matches no version."""
    etag = put(taker, "guarded", b"1").headers["ETag"]

    assert delete(taker, "guarded", If_Match='"other"') == 412
    assert delete(taker, "guarded", If_None_Match="*") == 412
    assert delete(taker, "guarded", If_None_Match=etag) == 412
    assert delete(taker, "guarded", If_Unmodified_Since="Sat, 01 Jan 2000 00:00:00 GMT") == 412
    assert requests.get(f"{taker.url}/files/guarded", timeout=10).content == b"1"
    assert delete(taker, "guarded", If_Match=etag) == 204
    assert delete(taker, "guarded", If_Match="*") in (404, 412)


def test_exactly_one_of_many_deletes_wins(taker: RunningServer) -> None:
    """Eight at once: one 204, seven 404."""
    put(taker, "raced/one")
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(delete(taker, "raced/one"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [204, *[404] * 7]
