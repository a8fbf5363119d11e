"""The Helm chart: rendered by Helm, and validated with the schemas of Kubernetes and of the Prometheus Operator."""

import re
import subprocess
import tarfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import __version__
from gateway.auth import api_keys
from gateway.config.loading import load
from gateway.config.settings import CacheSettings, Settings
from gateway.registries import KINDS
from tests.docker.helm import CHART, HelmFailed, helm
from tests.docker.tools import tool

pytest.importorskip("helm_python", reason="helm-python-sdk has no package for this platform")

PAI = {
    "name": "pai",
    "kind": "pai",
    "region": "cn-hangzhou",
    "access_key_id": "${ALIBABA_CLOUD_ACCESS_KEY_ID}",
    "access_key_secret": "${ALIBABA_CLOUD_ACCESS_KEY_SECRET}",
}
SMALL: dict[str, Any] = {"settings": {"registries": [PAI]}}
PEERS = [{"podSelector": {"matchLabels": {"app": "other"}}}]
LARGE: dict[str, Any] = {
    "image": {"repository": "images.example.com/registry-gateway", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "images"}],
    "settings": {
        "registries": [PAI | {"timeout": 5, "proxy": "http://proxy.example.com:3128"}],
        "server": {
            "workers": 4,
            "port": 8443,
            "drain": 2.5,
            "grace": 30,
            "root_path": "/models",
            "tls_certificate": "/etc/gateway/tls.crt",
            "tls_key": "/etc/gateway/tls.key",
            "trusted_proxies": ["10.0.0.0/8"],
        },
        "access": {
            "issuer": "https://login.example.com/",
            "audience": "registry-gateway",
            "jwks": "https://login.example.com/jwks.json",
        },
        "cache": {"megabytes": 1000},
        "telemetry": {"traces": "http://collector:4318", "metrics_port": 9000},
    },
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
    "files": [
        {"secret": {"name": "registry-gateway-callers"}},
        {"serviceAccountToken": {"path": "token", "audience": "sts.example.com", "expirationSeconds": 3600}},
    ],
    "volumes": [{"name": "documents", "configMap": {"name": "documents"}}],
    "volumeMounts": [{"name": "documents", "mountPath": "/documents"}],
    "serviceAccount": {"annotations": {"example.com/role": "reader"}},
    "replicas": 2,
    "autoscaling": {"enabled": False},
    "resources": {"limits": {"cpu": "4"}},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/internal": "true"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
        "hosts": ["models.example.com"],
        "tlsSecret": "models-tls",
    },
    "networkPolicy": {
        "clients": {"from": PEERS},
        "dns": {"to": PEERS, "ports": [5353]},
        "registries": {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [443, 5000]},
        "redis": {"to": PEERS, "ports": [6379, 26379]},
        "others": [{"to": PEERS, "ports": [{"port": 3128}]}],
    },
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"example.com/team": "models"},
    "podLabels": {"team": "models"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
"""All values, and the settings that other parts of the manifests depend on."""
VALUES = {"small": SMALL, "large": LARGE}
OPERATIONS = CHART.parent.parent / "docs" / "operations.md"
ALWAYS = ("ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount")


@cache
def rendered(name: str) -> dict[str, dict[str, Any]]:
    """Return the manifests for one of `VALUES`, by kind."""
    return by_kind(VALUES[name])


def by_kind(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    files: dict[str, str] = helm("template", values)
    documents = (yaml.safe_load(text) for path, text in files.items() if path.endswith(".yaml"))
    return {document["kind"]: document for document in documents if document}


def with_settings(**sections: dict[str, Any]) -> dict[str, Any]:
    """Return `SMALL` with further settings."""
    return {"settings": {**SMALL["settings"], **sections}}


def settings(name: str, folder: Path) -> Settings:
    """Return the settings in the ConfigMap as the gateway reads them."""
    file = folder / "gateway.toml"
    file.write_text(rendered(name)["ConfigMap"]["data"]["gateway.toml"], encoding="utf-8")
    variables = dict.fromkeys(secret("registry-gateway"), "redis://anything")
    return load(file, variables, {kind: registry.settings for kind, registry in KINDS.items()})


def secret(name: str) -> dict[str, str]:
    """Return the content of an example Secret."""
    documents = yaml.safe_load_all((CHART / "secret.example.yaml").read_text(encoding="utf-8"))
    found: dict[str, str] = next(one["stringData"] for one in documents if one["metadata"]["name"] == name)
    return found


def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return found


def ports(rules: list[dict[str, Any]]) -> list[list[int | str]]:
    """Return the ports of each rule of a network policy."""
    return [[port["port"] for port in rule["ports"]] for rule in rules]


@pytest.mark.parametrize("name", VALUES)
def test_helms_linter_has_no_warning(name: str) -> None:
    report = helm("lint", VALUES[name])
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("name", VALUES)
def test_every_manifest_is_valid_for_kubernetes(name: str, tmp_path: Path) -> None:
    manifests = rendered(name)
    native = {kind: one for kind, one in manifests.items() if "monitoring.coreos.com" not in one["apiVersion"]}
    assert native.keys() == {*ALWAYS, "Ingress" if name == "large" else "HorizontalPodAutoscaler"}
    for kind, document in native.items():
        (tmp_path / kind).write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [tool("kubernetes-validate"), "--strict", "--quiet", *(str(tmp_path / kind) for kind in native)]
    command.append(str(CHART / "secret.example.yaml"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_secrets_are_created_in_the_namespace_of_the_command() -> None:
    documents = [*yaml.safe_load_all((CHART / "secret.example.yaml").read_text(encoding="utf-8"))]
    assert [one["kind"] for one in documents] == ["Secret", "Secret"]
    assert [one["metadata"].keys() for one in documents] == [{"name"}, {"name"}]


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule"])
def test_the_manifest_is_valid_for_the_prometheus_operator(kind: str) -> None:
    models = pytest.importorskip("cloudcoil.models.prometheus_operator.v1")
    document = rendered("large")[kind]
    # The models ignore unknown fields, so that a misspelt one is missing here.
    model = getattr(models, kind).model_validate(document)
    assert model.model_dump(by_alias=True, exclude_unset=True) == document
    assert document["metadata"]["labels"]["release"] == "prometheus"
    assert kind not in rendered("small")


def test_the_chart_has_the_version_of_the_gateway() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__
    assert pod(rendered("small"))["containers"][0]["image"] == f"registry-gateway:{__version__}"


def test_the_packaged_chart_has_the_alert_rules_and_no_secrets(tmp_path: Path) -> None:
    with tarfile.open(helm("package", name=str(tmp_path))) as archive:
        names = archive.getnames()
        packaged = archive.extractfile("registry-gateway/files/alerts.yaml")
        assert packaged is not None
        assert packaged.read() == (CHART.parent / "alerts.yaml").read_bytes()
    assert not any("secret" in name for name in names)
    assert rendered("large")["PrometheusRule"]["spec"] == yaml.safe_load((CHART.parent / "alerts.yaml").read_bytes())


def test_the_gateway_can_use_the_settings(tmp_path: Path) -> None:
    small, large = settings("small", tmp_path), settings("large", tmp_path)
    assert [registry.name for registry in small.registries] == ["pai"]
    assert (small.access.mode, small.access.keys) == ("callers", "/etc/gateway/keys.toml")
    assert (large.server.drain, large.server.grace, large.server.workers) == (2.5, 30.0, 4)
    assert large.server.trusted_proxies == ("10.0.0.0/8",)
    assert large.registries[0].proxy.reveal() == "http://proxy.example.com:3128"
    api_keys.parse(secret("registry-gateway-callers")["keys.toml"].encode())


def test_the_values_in_the_documentation_can_be_used() -> None:
    found = re.search(r"```yaml\n# values.yaml\n(.*?)```", OPERATIONS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    manifests = by_kind(yaml.safe_load(found[1]))
    assert {"Ingress", "PodMonitor", "PrometheusRule"} <= manifests.keys()
    assert pod(manifests)["containers"][0]["image"] == f"images.example.com/registry-gateway:{__version__}"


def test_texts_reach_the_gateway_as_they_are() -> None:
    text = 'a "quoted" \\ text\nwith <tags> & ünïcödé 模型'
    manifests = by_kind(with_settings(registries=[PAI | {"account": text}]))
    read = tomllib.loads(manifests["ConfigMap"]["data"]["gateway.toml"])
    assert read["registries"][0]["account"] == text


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_has_time_to_stop(name: str, tmp_path: Path) -> None:
    server = settings(name, tmp_path).server
    assert server.drain + server.grace + 10 <= pod(rendered(name))["terminationGracePeriodSeconds"]


def test_resources_follow_from_the_settings() -> None:
    small, large = (pod(rendered(name))["containers"][0]["resources"] for name in VALUES)
    megabytes = CacheSettings().megabytes
    assert small == {
        "requests": {"cpu": "250m", "memory": f"{megabytes + 128}Mi"},
        "limits": {"memory": f"{megabytes + 512}Mi"},
    }
    assert large == {
        "requests": {"cpu": "1000m", "memory": f"{4 * (1000 + 128)}Mi"},
        "limits": {"memory": f"{4 * (1000 + 512)}Mi", "cpu": "4"},
    }


def test_the_pod_has_the_restricted_profile_and_probes_the_health_endpoints() -> None:
    spec = pod(rendered("small"))
    container = spec["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for name, probe, path in (
        ("small", "startupProbe", "/healthz"),
        ("small", "livenessProbe", "/healthz"),
        ("small", "readinessProbe", "/readyz"),
        ("large", "readinessProbe", "/readyz"),
    ):
        tls = {"scheme": "HTTPS"} if name == "large" else {}
        sent = pod(rendered(name))["containers"][0][probe]["httpGet"]
        assert sent == {"path": path, "port": "http", **tls}


def test_the_network_policy_allows_what_the_settings_need() -> None:
    small, large = (rendered(name)["NetworkPolicy"]["spec"] for name in VALUES)
    assert ports(small["ingress"]) == ports(large["ingress"]) == [["http"], ["metrics"]]
    assert [rule.get("from") for rule in large["ingress"]] == [PEERS, small["ingress"][1]["from"]]
    dns, https, redis = [53, 53], [443], [6379]
    assert ports(small["egress"]) == [dns, https, redis]
    assert ports(large["egress"]) == [[5353, 5353], [443, 5000], [443], [6379, 26379], [4318], [3128]]
    assert [rule.get("to") is not None for rule in large["egress"]] == [True, True, False, True, False, True]
    alone = by_kind(with_settings(cache={"redis": None}, telemetry={"metrics": "off"}))
    assert ports(alone["NetworkPolicy"]["spec"]["egress"]) == [dns, https]
    assert ports(alone["NetworkPolicy"]["spec"]["ingress"]) == [["http"]]


def test_prometheus_finds_the_metrics_in_one_way() -> None:
    annotations = [rendered(name)["Deployment"]["spec"]["template"]["metadata"]["annotations"] for name in VALUES]
    assert annotations[0]["prometheus.io/port"] == "9464"
    assert not any(name.startswith("prometheus.io") for name in annotations[1])
    port = next(one for one in pod(rendered("large"))["containers"][0]["ports"] if one["name"] == "metrics")
    assert port["containerPort"] == 9000


def test_the_ingress_serves_the_root_path() -> None:
    rule = rendered("large")["Ingress"]["spec"]["rules"][0]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == ("models.example.com", "/models")


def test_a_change_of_the_settings_restarts_the_pods() -> None:
    def checksum(manifests: dict[str, dict[str, Any]]) -> str:
        found: str = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        return found

    changed = by_kind(with_settings(cache={"lists": 60}))
    assert checksum(changed) != checksum(rendered("small"))
    assert checksum(by_kind({**SMALL, "replicas": 5})) == checksum(rendered("small"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "settings.registries: name at least one registry"),
        ({**SMALL, "replica": 2}, "replica"),
        ({**SMALL, "networkPolicy": {"redis": {"ports": ["redis"]}}}, "networkPolicy"),
        ({**SMALL, "ingress": {"enabled": True}}, "ingress"),
        (
            {**with_settings(telemetry={"metrics": "off"}), "podMonitor": {"enabled": True}},
            "podMonitor.enabled: needs settings.telemetry.metrics = port",
        ),
    ],
    ids=["no registry", "unknown value", "port", "ingress without hosts", "monitor without metrics"],
)
def test_values_that_cannot_be_used_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HelmFailed, match=message):
        helm("template", values)


def test_the_example_secrets_have_no_values() -> None:
    assert not any(value for name, value in secret("registry-gateway").items() if name != "REDIS_URL")
