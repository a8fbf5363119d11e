"""The image of the Dockerfile, run like `docker run --read-only`."""

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from gateway.http.playground.assets import ASSETS
from tests.docker.image import Image

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.demo.yaml").read_text(encoding="utf-8"))
DEMO: list[str] = COMPOSE["services"]["gateway"]["command"]
pytestmark = pytest.mark.timeout(400)  # the first test waits until the image is built

MAX_SIZE = 115_000_000
"""Of the image without its base image, in bytes. docs/operations.md states both."""
QUERY = "{ models(first: 1) { nodes { name } coverage { registry { name } state totalCount } } }"


@contextmanager
def container(image: Image, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running container and the URL of its gateway."""
    command = image.command(*image.words("ENTRYPOINT"), *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.match(r"Gateway +http://0\.0\.0\.0:(\d+)", line):
                    yield process, f"http://127.0.0.1:{found[1]}"
                    break
            else:
                assert process.stderr is not None
                pytest.fail(process.stderr.read())
        finally:
            process.kill()


def get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


def send_query(url: str, query: str) -> object:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def test_the_demo_serves_all_registries_and_stops_cleanly(image: Image) -> None:
    started = perf_counter()
    with container(image, *DEMO, "--port", "0") as (process, url):
        answer = send_query(url, QUERY)
        print(f"first answer after {perf_counter() - started:.2f} s, content of the image {image.size / 1e6:.1f} MB")
        assert answer == {
            "data": {
                "models": {
                    "nodes": [{"name": "qwen2.5-7b-instruct-006"}],
                    "coverage": [
                        {"registry": {"name": "pai"}, "state": "COMPLETE", "totalCount": 101},
                        {"registry": {"name": "qianfan"}, "state": "COMPLETE", "totalCount": 106},
                        {"registry": {"name": "mlflow"}, "state": "COMPLETE", "totalCount": 100},
                    ],
                }
            }
        }
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in errors


def test_the_image_contains_the_playgrounds_files(image: Image) -> None:
    with container(image, *DEMO, "--port", "0") as (_, url):
        page = get(url + "/", Accept="text/html")
        files = re.findall(r'(?:src|href)="(assets/[^"]+)"', page)
        assert any("graphiql.min.js" in file for file in files)
        assert all(get(f"{url}/{file}") for file in files)


def test_the_health_check_fails_only_without_a_running_gateway(image: Image) -> None:
    with container(image, *DEMO, "--port", "0") as (_, url):
        check = [word.replace("http://127.0.0.1:8000", url) for word in image.words("HEALTHCHECK")]
        assert check != image.words("HEALTHCHECK")
        assert image.run(*check).returncode == 0
        nowhere = [word.replace(url, "http://127.0.0.1:9") for word in check]
        assert image.run(*nowhere).returncode == 1


def test_serve_without_registries_fails_with_a_message(image: Image) -> None:
    done = image.run(*image.words("ENTRYPOINT"), *image.words("CMD"))
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: ")


def test_the_user_is_not_root_and_cannot_write_anywhere(image: Image) -> None:
    user, group = image.argument("USER").split(":")
    assert image.run("id", "-u").stdout.strip() == user != "0"
    assert image.run("id", "-G").stdout.strip() == group != "0"
    for folder in (".", "/tmp", "/opt/gateway"):  # noqa: S108
        assert "Read-only file system" in image.run("touch", f"{folder}/mark").stderr


def test_the_image_contains_the_dependencies_but_no_build_or_test_tools(image: Image) -> None:
    listing = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    installed = names(image.run("python", "-c", listing).stdout.split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = names(project["dependencies"]) | names(extras["otel"])
    assert {"registry-gateway", *needed} <= installed
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8").split("\n")
    assert installed - {"registry-gateway"} <= names([line for line in locked if "==" in line and line[0] != " "])
    assert not installed & {"pip", "setuptools", "wheel", "pytest", "mypy", "ruff", "uv"}
    assert image.run("python", "-m", "pip", "--version").returncode == 1


def test_the_image_is_small(image: Image) -> None:
    assert image.size <= MAX_SIZE
    stated = re.search(r"at\s+most\s+(\d+) MB to the base image", (ROOT / "docs" / "operations.md").read_text("utf-8"))
    assert stated is not None
    assert int(stated[1]) * 1_000_000 == MAX_SIZE


def test_the_bill_of_materials_lists_what_is_in_the_image(image: Image) -> None:
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    installed = image.run("python", "-c", listing).stdout.split()
    done = image.run(sys.executable, str(ROOT / "docker" / "sbom.py"), "/opt/gateway/bin/python")
    assert done.returncode == 0, done.stderr
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(done.stdout) is None
    bom = json.loads(done.stdout)
    root = bom["metadata"]["component"]
    listed = {component["purl"]: component for component in bom["components"]}
    python = [f"{one['name']}=={one['version']}" for purl, one in listed.items() if purl.startswith("pkg:pypi/")]
    assert sorted([*python, f"{root['name']}=={root['version']}"]) == sorted(installed)
    npm = [one for purl, one in listed.items() if purl.startswith("pkg:npm/")]
    hashes = [file["hashes"][0]["content"] for one in npm for file in one["components"]]
    assert sorted(hashes) == sorted(asset.sha256 for asset in ASSETS)
    assert "pkg:docker/python@3.13-slim" in listed
    (needed,) = [one["dependsOn"] for one in bom["dependencies"] if one["ref"] == root["bom-ref"]]
    assert {"graphiql@4.1.2", "python:3.13-slim"} <= set(needed)


def names(requirements: list[str]) -> set[str]:
    """Return the normalized project names of requirements."""
    return {
        re.sub(r"[-_.]+", "-", re.split(r"[<>=;\[]", requirement, maxsplit=1)[0]).lower()
        for requirement in requirements
    }
