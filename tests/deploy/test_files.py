"""The files for deployments say what the program understands, and compose reads its file without a complaint."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from offload.cli.main import parse
from offload.settings import load_settings
from tests.docs.pages import ROOT

DEPLOY = ROOT / "examples" / "deploy"
YAML = sorted(DEPLOY.rglob("*.yaml"))


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def needs(program: str) -> str:
    """Return where a program is, or skip."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {program}; as root tests/install_tools.sh installs it")
    return found


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_yaml_file_can_be_read(path: Path) -> None:
    assert documents(path)


def commands() -> list[list[str]]:
    """Return every command line of ours that the files start."""
    compose = documents(DEPLOY / "compose.yaml")[0]["services"]
    found = [compose[name]["command"] for name in ("api-1", "worker")]
    for document in documents(DEPLOY / "kubernetes" / "offload.yaml"):
        if document["kind"] == "Deployment":
            found += [container["args"] for container in document["spec"]["template"]["spec"]["containers"]]
    for unit in (DEPLOY / "systemd").glob("*.service"):
        line = re.search(r"^ExecStart=(\S+/offload) (.*)$", unit.read_text(), re.MULTILINE)
        assert line is not None, unit
        found.append(shlex.split(line[2]))
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_one_of_ours(command: list[str]) -> None:
    parse(command)


def variables() -> dict[str, str]:
    compose = documents(DEPLOY / "compose.yaml")[0]["services"]["worker"]["environment"]
    maps = [document["data"] for document in documents(DEPLOY / "kubernetes" / "offload.yaml") if "data" in document]
    lines = (DEPLOY / "systemd" / "environment.example").read_text().splitlines()
    units = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for found in (units, *maps, compose) for name, value in found.items()}


def test_every_variable_is_a_setting_with_a_value_that_it_takes(tmp_path: Path) -> None:
    environ = {name: value for name, value in variables().items() if name.startswith("OFFLOAD_")}
    assert len(environ) >= 6
    load_settings(flags={}, environ=environ, cwd=tmp_path)


def test_compose_reads_its_file(tmp_path: Path) -> None:
    compose = needs("docker-compose")
    filled = re.sub(r"=$", "=secret", (DEPLOY / "env.example").read_text(), flags=re.MULTILINE)
    (tmp_path / "env").write_text(filled)
    command = [compose, "-f", str(DEPLOY / "compose.yaml"), "--env-file"]
    read = subprocess.run([*command, str(tmp_path / "env"), "config"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    assert set(yaml.safe_load(read.stdout)["services"]) >= {"api-1", "api-2", "worker", "nginx", "postgres", "rabbitmq"}
    empty = subprocess.run([*command, str(DEPLOY / "env.example"), "config"], capture_output=True, text=True)
    assert empty.returncode != 0 and "PASSWORD" in empty.stderr, "a missing secret must be said"


def test_nothing_runs_as_root_and_a_stop_has_time_to_drain() -> None:
    for document in documents(DEPLOY / "kubernetes" / "offload.yaml"):
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["terminationGracePeriodSeconds"] > 50 + 5
    assert re.search(r"^USER offload$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for unit in (DEPLOY / "systemd").glob("*.service"):
        assert "User=offload" in unit.read_text() and "TimeoutStopSec=45" in unit.read_text()


def test_keda_asks_for_metrics_that_there_are(tmp_path: Path) -> None:
    (scaled,) = documents(DEPLOY / "kubernetes" / "keda.yaml")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for name in re.findall(r"offload_\w+", query):
        assert f"`{name}" in documented, name
    targets = {
        document["metadata"]["name"]
        for document in documents(DEPLOY / "kubernetes" / "offload.yaml")
        if document["kind"] == "Deployment"
    }
    assert scaled["spec"]["scaleTargetRef"]["name"] in targets
