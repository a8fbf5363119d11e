"""Programs that tests of the deployment need: where one is missing they skip, and on continuous integration fail."""

import os
import shutil
import sys
from pathlib import Path

import pytest

BESIDE_PYTHON = str(Path(sys.executable).parent)
"""Where the development tools from PyPI are installed."""


def tool(name: str) -> str:
    return needed(name)[0]


def needed(*names: str, root: bool = False) -> list[str]:
    """The paths of all of them; with ``root`` whoever runs the tests must be root, too."""
    path = f"{BESIDE_PYTHON}:{os.environ['PATH']}:/usr/sbin"
    found = [shutil.which(name, path=path) for name in names]
    missing = [f"{name} is not installed" for name, place in zip(names, found, strict=True) if place is None]
    if root and os.geteuid() != 0:
        missing.append("only root can make a root folder")
    if missing:
        reason = ", ".join(missing)
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return [place for place in found if place]
