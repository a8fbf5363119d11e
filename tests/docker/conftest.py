"""The image, built once from the Dockerfile, for tests that run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.image import Image, built
from tests.docker.tools import needed


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    needed("unshare", "nsenter", "npm", root=True)
    root = Path(__file__).parent.parent.parent
    with built(root / "docker" / "Dockerfile", root, tmp_path_factory.mktemp("image")) as image:
        yield image
