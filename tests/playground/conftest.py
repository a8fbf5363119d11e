"""The playground's files, for tests that need them; where npm cannot get them those skip, and on CI they fail."""

import os

import pytest

from gateway.http.playground.assets import AssetsError, fetch


@pytest.fixture
def files() -> None:
    try:
        fetch()
    except AssetsError as error:
        reason = f"the playground's files cannot be had: {error}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
