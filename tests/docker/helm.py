"""Helm's commands for charts, each in a process of its own: the library starts threads of the Go runtime."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHART = Path(__file__).parent.parent.parent / "docker" / "helm"

COMMANDS = {
    "lint": "helm.lint(chart, values, strict=True)",
    "template": "helm.Chart.load(chart).render(values, name=name, namespace='models')",
    "package": "helm.package(chart, destination=name)",
}
PROGRAM = """
import json, sys
import helm_python as helm
chart, name, values = sys.argv[1], sys.argv[2], json.load(sys.stdin)
try:
    json.dump({command}, sys.stdout)
except helm.HelmError as error:
    sys.exit(error.detail)
"""


class HelmFailed(Exception):
    """Helm refused the chart or the values. The message is Helm's."""


def helm(command: str, values: dict[str, Any] | None = None, name: str = "registry-gateway") -> Any:
    """Return what a command reports: findings, manifests by path, or the path of the archive in the folder ``name``.

    Raises `HelmFailed`.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{command}", COMMANDS[command]), str(CHART), name],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise HelmFailed(done.stderr)
    return json.loads(done.stdout)
