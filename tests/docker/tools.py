"""Programs that the deployment tests need. Tests skip if one is missing; on continuous integration they fail."""

import os
import shutil
import sys
from pathlib import Path

import pytest

BESIDE_PYTHON = str(Path(sys.executable).parent)
"""The folder of the development tools from PyPI."""


def tool(name: str) -> str:
    """Return the path of a program."""
    return require_tools(name)[0]


def require_tools(*names: str, root: bool = False) -> list[str]:
    """Return the paths of programs. With ``root``, the tests also require root privileges."""
    path = f"{BESIDE_PYTHON}:{os.environ['PATH']}:/usr/sbin"
    found = [shutil.which(name, path=path) for name in names]
    missing = [f"{name} is not installed" for name, program in zip(names, found, strict=True) if program is None]
    if root and os.geteuid() != 0:
        missing.append("building an image needs root privileges")
    if missing:
        reason = ", ".join(missing)
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return [program for program in found if program]
