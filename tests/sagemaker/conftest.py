"""A SageMaker registry of moto that checks signatures, boto3 as its client, and gateways over it."""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.config.settings import Secret
from gateway.registries.sagemaker import SageMakerSettings
from tests import environments
from tests.conftest import Client, served, settings

HERE = Path(__file__).parent
REGION, ACCOUNT = "eu-west-1", "123456789012"


def interpreter() -> Path:
    """Return a Python with moto, boto3 and botocore."""
    return environments.interpreter(HERE / "requirements.txt", HERE / "build" / "venv")


@dataclass
class Moto:
    """The registry: its address, keys of a user and a role as (id, secret, token), and boto3."""

    url: str
    keys: dict[str, tuple[str, str, str]]
    process: "subprocess.Popen[str]"

    def boto3(self, operation: str, url: str | None = None, **params: Any) -> Any:
        """Return the answer of boto3 to an operation, with the rows of all pages."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"operation": operation, "params": params, "url": url or self.url}), file=self.process.stdin)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    command = [interpreter(), HERE / "moto_registry.py"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        yield Moto(started["url"], started["keys"], process)
        process.stdin.close()


def sagemaker(url: str, key: tuple[str, str, str], **options: Any) -> SageMakerSettings:
    """Return the settings of a registry at an address, with a key."""
    return SageMakerSettings(
        kind="sagemaker",
        endpoint=url,
        **{
            "name": "aws",
            "region": REGION,
            "account": ACCOUNT,
            "access_key_id": key[0],
            "secret_access_key": Secret(key[1]),
            "session_token": Secret(key[2]),
            **options,
        },
    )


@asynccontextmanager
async def gateway_over(url: str, key: tuple[str, str, str], **sections: Any) -> AsyncIterator[Client]:
    """Serve a gateway over one registry."""
    async with served(settings(sagemaker(url, key), **sections)) as client:
        yield client


@pytest.fixture
async def gateway(moto: Moto) -> AsyncIterator[Client]:
    async with gateway_over(moto.url, moto.keys["user"]) as client:
        yield client
