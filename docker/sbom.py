"""The software bill of materials of the image, as CycloneDX JSON.

It lists the Python packages of an environment, the packages of the playground's files with their hashes, and the base
image by name only. `make sbom` writes it for an environment like that of the image:

    python docker/sbom.py build/image/bin/python > dist/registry-gateway.cdx.json
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from gateway import __version__  # noqa: E402
from gateway.http.playground.assets import PACKAGES  # noqa: E402


def bill_of_materials(python: str) -> str:
    """Return the bill of materials for the environment of an interpreter, in which `requirements.lock` is installed.

    It is not validated, which takes longer than all else; the tests do that.

    Raises `subprocess.CalledProcessError` if the environment cannot be read.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--no-validate", "--pyproject"]
    listed = subprocess.run([*command, ROOT / "pyproject.toml", python], check=True, stdout=subprocess.PIPE)  # noqa: S603
    bom: Bom = Bom.from_json(json.loads(listed.stdout))
    gateway = bom.metadata.component
    assert gateway is not None
    gateway.version = __version__
    others = [*map(_npm_component, PACKAGES), _base_image()]
    for component in others:
        bom.components.add(component)
    bom.register_dependency(gateway, others)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _npm_component(package: str) -> Component:
    """Return a package of the playground, with the files that the gateway serves."""
    name, _, version = package.rpartition("@")
    group, _, short = name.rpartition("/")
    files = [
        Component(name=path, type=ComponentType.FILE, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)])
        for path, digest in PACKAGES[package].items()
    ]
    purl = PackageURL("npm", group or None, short, version)
    return Component(name=short, group=group or None, version=version, purl=purl, bom_ref=package, components=files)


def _base_image() -> Component:
    """Return the image that the last stage of the Dockerfile starts from."""
    stages = re.findall(
        r"^FROM (\S+):(\S+)", (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    name, version = stages[-1]
    purl = PackageURL("docker", None, name, version)
    return Component(name=name, version=version, type=ComponentType.CONTAINER, purl=purl, bom_ref=f"{name}:{version}")


if __name__ == "__main__":
    print(bill_of_materials(sys.argv[1]))
