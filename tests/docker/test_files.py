"""Deployment files: validated by the tools that read them, and checked for hardening."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.auth import api_keys
from gateway.config.loading import load
from gateway.registries import KINDS
from tests.docker.tools import tool

DOCKER = Path(__file__).parent.parent.parent / "docker"
KUBERNETES = DOCKER / "kubernetes"
COMPOSE_FILES = sorted(DOCKER.glob("**/compose*.yaml"))
MANIFESTS = sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "kustomization.yaml"})
GATEWAY = "registry-gateway"


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


def manifest(kind: str, name: str = GATEWAY) -> dict[str, Any]:
    documents = [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    found: dict[str, Any] = next(
        document for document in documents if (document["kind"], document["metadata"]["name"]) == (kind, name)
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


@pytest.mark.parametrize("file", MANIFESTS, ids=relative_name)
def test_the_manifest_is_valid_for_kubernetes(file: Path) -> None:
    run_tool(tool("kubernetes-validate"), "--strict", "--quiet", str(file))


def test_kustomize_lists_every_manifest_except_the_example_secrets() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == [file.name for file in MANIFESTS if file.name != "secret.example.yaml"]


def test_the_pod_has_the_restricted_profile_and_probes_the_health_endpoints() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_example_secrets_have_no_values() -> None:
    for line in (DOCKER / "keys.env.example").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or line.endswith("="), line
    secret = manifest("Secret")["stringData"]
    assert not any(value for name, value in secret.items() if name != "REDIS_URL")


def test_the_settings_in_the_manifests_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(manifest("ConfigMap")["data"]["gateway.toml"], encoding="utf-8")
    variables = dict.fromkeys(manifest("Secret")["stringData"], "redis://anything")
    settings = load(file, variables, {name: kind.settings for name, kind in KINDS.items()})
    assert [registry.name for registry in settings.registries] == ["pai", "qianfan"]
    assert (settings.access.mode, settings.access.keys) == ("callers", "/etc/gateway/keys.toml")
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    assert settings.server.drain + settings.server.grace < pod["terminationGracePeriodSeconds"]
    api_keys.parse(manifest("Secret", f"{GATEWAY}-callers")["stringData"]["keys.toml"].encode())
