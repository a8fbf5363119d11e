"""The image, built once per test session from the Dockerfile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.image import Image, built
from tests.docker.tools import require_tools


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    require_tools("unshare", "nsenter", "npm", root=True)
    root = Path(__file__).parent.parent.parent
    with built(root / "docker" / "Dockerfile", root, tmp_path_factory.mktemp("image")) as image:
        yield image
