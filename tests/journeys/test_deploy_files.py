"""The files of deploy/ that need an engine which no test has: their schemas, and every option.

What they start is started by other tests as local processes: three servers behind nginx over
PostgreSQL and S3 (tests/reliability/test_three_servers.py), a server behind systemd's socket
(test_replace.py).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from fix_deploy import DEPLOY, SCRIPTS
from fix_server import START
from fix_taking import missing, need
from sluiceway.cli.serve import serve
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.listed import setting_help

SCHEMAS = Path(__file__).parents[1] / "schemas"


def settings_of(arguments: list[str], env: dict[str, str], monkeypatch: Any) -> Settings:
    """As `sluiceway serve` reads options and variables. Fails for those that it does not know."""
    known = {f"SLUICEWAY_{name.upper()}" for name in setting_help()} | {"SLUICEWAY_RANDOM_TOKEN"}
    assert {name for name in env if name.startswith("SLUICEWAY_")} <= known
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    context = serve.make_context("serve", arguments)
    assert isinstance(context, click.Context)
    given = dict(context.params)
    given.pop("random_token")
    return Settings(**given)


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    return {one["kind"]: one for one in found}


def test_kubernetes_takes_the_manifests(manifests: dict[str, Any]) -> None:
    """By the schemas of its API, which know every field."""
    schema = json.loads((SCHEMAS / "kubernetes.json").read_text("utf-8"))
    assert set(manifests) == set(schema["kinds"])
    for kind, manifest in manifests.items():
        one = {"$ref": f"#/$defs/{schema['kinds'][kind]}", "$defs": schema["$defs"]}
        jsonschema.Draft202012Validator(one).validate(manifest)
        manifest["spec" if "spec" in manifest else "metadata"]["unknown"] = 1
        assert not jsonschema.Draft202012Validator(one).is_valid(manifest)
        del manifest["spec" if "spec" in manifest else "metadata"]["unknown"]


def test_the_manifests_fit_together(
    manifests: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, ports, labels; a pod has longer to end than its uploads; its settings are known."""
    deployment = manifests["Deployment"]["spec"]
    pod, labels = deployment["template"]["spec"], deployment["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert manifests[kind]["spec"]["selector"]["matchLabels"] == labels
    service = manifests["Service"]["spec"]
    assert service["selector"] == labels
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    targets = [port["targetPort"] for port in service["ports"]]
    targets += [
        container[f"{probe}Probe"]["httpGet"]["port"]
        for probe in ("startup", "liveness", "readiness")
    ]
    assert set(targets) <= set(ports)
    secret, values = manifests["Secret"]["stringData"], dict(manifests["ConfigMap"]["data"])
    for variable in container["env"]:
        values[variable["name"]] = secret[variable["valueFrom"]["secretKeyRef"]["key"]]
    (tmp_path / "token").write_text(secret["token"])
    values["SLUICEWAY_TOKEN_FILE"] = str(tmp_path / "token")
    (tmp_path / "token").chmod(pod["volumes"][0]["secret"]["defaultMode"])
    first, *arguments = container["args"]
    assert first == "serve"
    image = (DEPLOY / "Dockerfile").read_text("utf-8")
    built = dict(re.findall(r"(SLUICEWAY_\w+)=(\S+)", image))
    settings = settings_of(arguments, {**built, **values}, monkeypatch)
    assert (settings.port, str(settings.metrics_port)) == (ports["http"], str(ports["metrics"]))
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"] + settings.shutdown_timeout
    assert pod["terminationGracePeriodSeconds"] > stop
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "sluiceway")


def test_compose_takes_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its schema; the servers share a ledger and a bucket, and have longer to end than their
    uploads."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    schema = json.loads((SCHEMAS / "compose.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(compose)
    server = compose["services"]["sluiceway"]
    (tmp_path / "token").write_text("a-token-that-is-long-enough")
    values = {**server["environment"], "SLUICEWAY_TOKEN_FILE": str(tmp_path / "token")}
    settings = settings_of(server["command"][1:], values, monkeypatch)
    assert settings.ledger is not None
    assert settings.to == ("s3://files",)
    assert server["deploy"]["replicas"] == 3
    assert int(server["stop_grace_period"].removesuffix("s")) > settings.shutdown_timeout
    made = (DEPLOY / "compose.yaml").read_text("utf-8").partition("services:")[0]
    for name in set(re.findall(r"\$\{(\w+):", (DEPLOY / "compose.yaml").read_text("utf-8"))):
        assert f"{name}=" in made


def test_systemd_takes_the_socket_and_the_service(tmp_path: Path) -> None:
    """Both together; a reload tells the main process, which says who its successor is."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed")
    for name in ("sluiceway.service", "sluiceway.socket"):
        unit = (DEPLOY / name).read_text("utf-8")
        (tmp_path / name).write_text(unit.replace("/opt/sluiceway/bin", str(SCRIPTS)))
    units = [str(tmp_path / f"sluiceway.{kind}") for kind in ("service", "socket")]
    command = ["systemd-analyze", "verify", *units]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    service = (DEPLOY / "sluiceway.service").read_text("utf-8")
    for line in ("Type=notify", "NotifyAccess=all", "ExecReload=/bin/kill -USR2 $MAINPID"):
        assert f"\n{line}\n" in service


@pytest.mark.torture
def test_caddy_takes_its_file() -> None:
    need("caddy")
    command = ["caddy", "adapt", "--validate", "--config", str(DEPLOY / "Caddyfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)
    assert done.returncode == 0, done.stderr
    assert "files.example.com" in done.stdout
