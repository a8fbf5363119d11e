"""Fixtures for the playground."""

import os

import pytest

from gateway.http.playground.assets import AssetsError, fetch


@pytest.fixture
def files() -> None:
    """Download the playground's files. If that fails, skip the test, or fail it on CI."""
    try:
        fetch()
    except AssetsError as error:
        reason = f"cannot download the playground: {error}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
