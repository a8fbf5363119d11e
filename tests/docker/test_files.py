"""What operators deploy from, judged by the tools that will read it, and held to what it promises."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.auth import api_keys as keys
from gateway.config.loading import load
from gateway.registries import KINDS
from tests.docker.tools import tool

DOCKER = Path(__file__).parent.parent.parent / "docker"
KUBERNETES = DOCKER / "kubernetes"
COMPOSED = sorted(DOCKER.glob("**/compose*.yaml"))
MANIFESTS = sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "kustomization.yaml"})
OWN = "registry-gateway"


def told(*command: str) -> str:
    """What a tool prints; the test fails with its complaints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def composed(file: Path) -> dict[str, Any]:
    """The file as Compose understands it."""
    found: dict[str, Any] = json.loads(told(tool("docker-compose"), "--file", str(file), "config", "--format", "json"))
    return found


def manifest(kind: str, name: str = OWN) -> dict[str, Any]:
    documents = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    found: dict[str, Any] = next(one for one in documents if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def named(file: Path) -> str:
    return str(file.relative_to(DOCKER))


def test_the_dockerfile_pleases_its_linter() -> None:
    told(tool("hadolint"), str(DOCKER / "Dockerfile"))


@pytest.mark.parametrize("file", COMPOSED, ids=named)
def test_every_service_is_hardened_and_reached_from_this_machine_alone(file: Path) -> None:
    for name, service in composed(file)["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert service.get("read_only") or name == "router", name
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}, name


@pytest.mark.parametrize("file", COMPOSED, ids=named)
def test_every_service_is_of_this_repository_or_of_a_pinned_version_and_has_its_files(file: Path) -> None:
    for name, service in composed(file)["services"].items():
        image, _, version = service["image"].rpartition(":")
        assert service["image"] == OWN or (image and version != "latest"), name
        assert service["image"] == OWN or "healthcheck" in service or name == "router", name
        mounted = [one["source"] for one in service.get("volumes", ()) if one["type"] == "bind"]
        assert all(os.path.exists(source) for source in mounted), mounted


def test_prometheus_asks_every_gateway_and_grafana_shows_the_dashboard() -> None:
    services = composed(DOCKER / "compose.observability.yaml")["services"]
    scraped = yaml.safe_load((DOCKER / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"][0]
    targets = [target for one in scraped["static_configs"] for target in one["targets"]]
    assert targets == [f"{name}:9464" for name in sorted(services) if name.startswith("gateway-")]
    provided = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/registry-gateway.yaml").read_bytes())
    mounted = [Path(one["target"]).parent for one in services["grafana"]["volumes"] if one["type"] == "bind"]
    assert Path(provided["providers"][0]["options"]["path"]) in mounted


@pytest.mark.parametrize("file", MANIFESTS, ids=named)
def test_kubernetes_takes_the_manifest(file: Path) -> None:
    told(tool("kubernetes-validate"), "--strict", "--quiet", str(file))


def test_kustomize_takes_every_manifest_but_the_example_of_secrets() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == [file.name for file in MANIFESTS if file.name != "secret.example.yaml"]


def test_the_pod_keeps_the_restricted_profile_and_asks_after_the_doors_of_health() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    asked = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_no_secret_has_a_value() -> None:
    for line in (DOCKER / "keys.env.example").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or line.endswith("="), line
    secret = manifest("Secret")["stringData"]
    assert not any(value for name, value in secret.items() if name != "REDIS_URL")


def test_the_gateway_takes_the_settings_of_the_manifests(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(manifest("ConfigMap")["data"]["gateway.toml"], encoding="utf-8")
    given = dict.fromkeys(manifest("Secret")["stringData"], "redis://anything")
    settings = load(file, given, {name: kind.settings for name, kind in KINDS.items()})
    assert [one.name for one in settings.registries] == ["pai", "qianfan"]
    assert (settings.access.mode, settings.access.keys) == ("callers", "/etc/gateway/keys.toml")
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    assert settings.server.drain + settings.server.grace < pod["terminationGracePeriodSeconds"]
    keys.parse(manifest("Secret", f"{OWN}-callers")["stringData"]["keys.toml"].encode())
