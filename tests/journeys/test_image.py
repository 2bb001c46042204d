"""The images of deploy/: not as root, on a read-only root, with one volume, and a stop that ends.

The long part builds and runs them. The quick part holds their files against the code.
"""

from __future__ import annotations

import hashlib
import re
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from fix_image import BASE, ROOT, Image, Images, images, stop
from fix_taking import noise
from free_ports import free_port
from sluiceway.server.settings.listed import setting_help

__all__ = ["images"]

DEPLOY = ROOT / "deploy"
DOCKERFILES = ["Dockerfile", "flask.Dockerfile"]
MIB = 1 << 20
SIZE = 256 * MIB
FLAT = 160 * MIB  # resident at most, whatever the size: less than the file
OWNER = 10001
TOKEN = "what-clients-of-the-image-carry"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_base_is_the_one_that_is_tried(name: str) -> None:
    """Each FROM names the base of the tests, or a stage of the same file."""
    text = (DEPLOY / name).read_text("utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages == {BASE}


def test_each_setting_of_the_images_exists() -> None:
    """A misspelt variable would be ignored, and the server be another one than meant."""
    texts = "".join((DEPLOY / name).read_text("utf-8") for name in ["Dockerfile", "compose.yaml"])
    named = {name.lower() for name in re.findall(r"SLUICEWAY_([A-Z_]+)", texts)}
    assert named - {"random_token"} <= set(setting_help())
    assert "to" in named


@pytest.mark.parametrize("name", DOCKERFILES)
def test_nothing_runs_as_root(name: str) -> None:
    """The number, not the name: Kubernetes compares numbers (runAsNonRoot)."""
    text = (DEPLOY / name).read_text("utf-8")
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == [f"{OWNER}:{OWNER}"]


def test_the_build_sends_only_what_the_images_need() -> None:
    """Neither .git nor a virtual environment nor uploads reach the build, nor the image."""
    first, *others = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    allowed = {line[1:] for line in others if line.startswith("!")}
    assert first == "*"
    assert allowed == {"src", "deploy", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}


def test_the_compose_file_is_whole() -> None:
    """Each dependency, secret and volume that a service names is there; so are the files."""
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service.get("secrets", ())) <= set(compose["secrets"]), name
        assert "image" in service, name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            found = (
                (DEPLOY / source).exists() if source[0] in "./" else source in compose["volumes"]
            )
            assert found, f"{name}: {volume}"
    build = services["sluiceway"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    compile(services["bucket"]["command"][0], "bucket", "exec")


@pytest.fixture(scope="module")
def service(images: Images) -> Image:
    return Image(images.build("Dockerfile"))


def volume(folder: Path, owner: int = OWNER) -> Path:
    data = folder / "data"
    data.mkdir()
    subprocess.run(["chown", f"{owner}:{owner}", str(data)], check=True)
    folder.chmod(0o755)
    return data


@pytest.mark.torture
@pytest.mark.timeout(1500)
def test_the_image_serves_256_mib_not_as_root(service: Image, tmp_path: Path) -> None:
    """Closed by a token that its log shows; flat in memory; the files are its user's."""
    data, port, sent = volume(tmp_path), free_port(), noise(MIB) * (SIZE // MIB)
    url = f"http://127.0.0.1:{port}"
    with service.running(data, url, "/healthz", SLUICEWAY_PORT=str(port)) as container:
        (token,) = re.findall(r"  token  (\S+)", container.log.read_text())
        before = container.peak()
        refused = requests.put(f"{url}/files/a.bin", data=b"x", timeout=60)
        kept = requests.put(f"{url}/files/a.bin", data=sent, auth=("", token), timeout=120)
        grown = container.peak() - before
        file = data / "a.bin"

        assert (refused.status_code, kept.status_code) == (401, 201)
        assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(sent).digest()
        assert (file.stat().st_uid, file.stat().st_gid) == (OWNER, OWNER)
        assert not file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        assert set(container.main.uids()) == {OWNER}
        assert grown < FLAT
        assert service.healthy(data, SLUICEWAY_PORT=str(port))
    assert not service.healthy(data, SLUICEWAY_PORT=str(port))


@pytest.mark.torture
@pytest.mark.timeout(1500)
def test_a_stop_lets_a_running_upload_complete(service: Image, tmp_path: Path) -> None:
    """SIGTERM to PID 1: no new connections, the upload ends well, exit code 0."""
    data, port = volume(tmp_path), free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "SLUICEWAY_PORT": str(port),
        "SLUICEWAY_TOKEN": TOKEN,
        "SLUICEWAY_SHUTDOWN_TIMEOUT": "30",
    }
    with service.running(data, url, "/healthz", **env) as container:
        begun, go_on = threading.Event(), threading.Event()

        def body() -> Any:
            yield b"a" * MIB
            begun.set()
            go_on.wait(20)
            yield b"b"

        found: list[int] = []

        def upload() -> None:
            response = requests.put(f"{url}/files/a", data=body(), auth=("", TOKEN), timeout=60)
            found.append(response.status_code)

        thread = threading.Thread(target=upload)
        thread.start()
        begun.wait(20)
        container.main.send_signal(signal.SIGTERM)
        time.sleep(1)
        go_on.set()
        thread.join(30)

        assert found == [201]
        assert container.process.wait(30) == 0
    assert (data / "a").stat().st_size == MIB + 1


@pytest.mark.torture
@pytest.mark.timeout(1500)
def test_the_files_can_be_those_of_another_user(service: Image, tmp_path: Path) -> None:
    """`docker run --user "$(id -u):$(id -g)"`: the folder of the README's line is that user's."""
    data, port = volume(tmp_path, owner=4321), free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"SLUICEWAY_PORT": str(port), "SLUICEWAY_NO_AUTH": "true"}
    with service.running(data, url, "/healthz", owner="4321:4321", **env) as container:
        assert requests.put(f"{url}/files/a", data=b"x", timeout=60).status_code == 201
        assert "token" not in container.log.read_text().replace("without", "")
        assert stop(container) == 0
    assert (data / "a").stat().st_uid == 4321


@pytest.mark.torture
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("target", ["gunicorn", "uwsgi"])
def test_the_image_of_a_flask_app_serves_256_mib(
    images: Images, tmp_path: Path, target: str
) -> None:
    """The articles' deployment: the same app, in a container, behind each of the two servers."""
    image = Image(images.build("flask.Dockerfile", target))
    data, port, sent = volume(tmp_path), free_port(), noise(MIB) * (SIZE // MIB)
    url = f"http://127.0.0.1:{port}"
    env = {"LISTEN": f"127.0.0.1:{port}", "TOKEN": TOKEN}
    with image.running(data, url, "/up/healthz", **env) as container:
        before = container.peak()
        kept = requests.put(f"{url}/up/files/a", data=sent, auth=("", TOKEN), timeout=120)
        assert kept.status_code == 201
        assert container.peak() - before < FLAT
        assert image.healthy(data, LISTEN=f"127.0.0.1:{port}")
        assert stop(container) == 0
    assert hashlib.sha256((data / "a").read_bytes()).digest() == hashlib.sha256(sent).digest()
