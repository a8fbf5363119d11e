"""Deployment files: validated by the tools that read them, and checked for hardening."""

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.settings import CacheSettings, ServerSettings
from tests.docker.tools import tool

DOCKER = Path(__file__).parent.parent.parent / "docker"
COMPOSE_FILES = sorted(DOCKER.glob("**/compose*.yaml"))
UNIT = DOCKER / "systemd" / "registry-gateway.service"
GATEWAY = "registry-gateway"
MAX_EXPOSURE = 15
"""Of a unit, in tenths of what systemd rates from 0 to 10. The rest is the network, which a server needs."""


def run_tool(*command: str) -> str:
    """Return the output of a tool. The test fails with the output if the tool does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compose_config(file: Path) -> dict[str, Any]:
    """Return the file as resolved by Compose."""
    found: dict[str, Any] = json.loads(
        run_tool(tool("docker-compose"), "--file", str(file), "config", "--format", "json")
    )
    return found


def relative_name(file: Path) -> str:
    return str(file.relative_to(DOCKER))


def test_the_dockerfile_passes_its_linter() -> None:
    run_tool(tool("hadolint"), str(DOCKER / "Dockerfile"))


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=relative_name)
def test_every_service_is_hardened_and_published_on_loopback_only(file: Path) -> None:
    for name, service in compose_config(file)["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert service.get("read_only") or name == "router", name
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}, name


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=relative_name)
def test_every_service_has_a_pinned_image_and_its_mounted_files_exist(file: Path) -> None:
    for name, service in compose_config(file)["services"].items():
        image, _, version = service["image"].rpartition(":")
        assert service["image"] == GATEWAY or (image and version != "latest"), name
        assert service["image"] == GATEWAY or "healthcheck" in service or name == "router", name
        mounted = [volume["source"] for volume in service.get("volumes", ()) if volume["type"] == "bind"]
        assert all(os.path.exists(source) for source in mounted), mounted


def test_prometheus_scrapes_every_gateway_and_grafana_loads_the_dashboard() -> None:
    services = compose_config(DOCKER / "compose.observability.yaml")["services"]
    job = yaml.safe_load((DOCKER / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"][0]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    assert targets == [f"{name}:9464" for name in sorted(services) if name.startswith("gateway-")]
    provided = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/registry-gateway.yaml").read_bytes())
    mounted = [Path(volume["target"]).parent for volume in services["grafana"]["volumes"] if volume["type"] == "bind"]
    assert Path(provided["providers"][0]["options"]["path"]) in mounted


def test_the_example_of_credentials_has_no_values() -> None:
    for line in (DOCKER / "keys.env.example").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or line.endswith("="), line


def test_the_systemd_unit_is_valid_and_confined(tmp_path: Path) -> None:
    program = "/opt/registry-gateway/bin/gateway"
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    assert program in text
    unit.write_text(text.replace(program, str(Path(sys.executable).parent / "gateway")), encoding="utf-8")
    analyze = tool("systemd-analyze")
    assert subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=True).stderr == ""
    run_tool(analyze, "security", "--offline=true", "--no-pager", f"--threshold={MAX_EXPOSURE}", str(unit))


def test_the_systemd_unit_fits_the_default_settings() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(UNIT, encoding="utf-8")
    service, server = unit["Service"], ServerSettings()
    assert server.drain + server.grace + 10 <= int(service["TimeoutStopSec"])
    assert service["MemoryMax"] == f"{CacheSettings().megabytes + 512}M"
