"""A gateway under attack in its own process, over twins in another process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import twins
from tests.test_command_line import ENVIRON

REGISTRIES = f"""\
[[registries]]
name = "pai"
kind = "pai"
region = "cn-hangzhou"
access_key_id = "{twins.PAI_KEY_ID}"
access_key_secret = "{twins.PAI_SECRET}"
models_endpoint = "TWINS"
algorithms_endpoint = "TWINS"
[[registries]]
name = "qianfan"
kind = "qianfan"
access_key = "{twins.QIANFAN_ACCESS_KEY}"
secret_key = "{twins.QIANFAN_SECRET_KEY}"
endpoint = "TWINS"
"""
"""The settings of both registries over twins, whose address replaces the word."""

SETTINGS = f"""
[server]
keep_alive = 5
profile = "development"
[limits]
batch = 20
head_seconds = 1.0
body_seconds = 1.0
connections = 100
[telemetry]
log_level = "warning"
{REGISTRIES}"""


@dataclass(frozen=True)
class Target:
    """The process under attack."""

    pid: int
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def memory(self) -> int:
        """Return the peak memory of the process, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def process(log: Path, *arguments: str) -> Iterator[tuple[int, str]]:
    """Run a command of the gateway, and yield its process id and the address in its first line."""
    command = [sys.executable, "-m", "gateway", *arguments]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=ENVIRON) as running,
    ):
        assert running.stdout is not None
        try:
            yield running.pid, running.stdout.readline().decode().split()[1]
        finally:
            running.terminate()
            running.stdout.read()


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One process for all attacks."""
    with attacked(tmp_path_factory.mktemp("attacked")) as target:
        yield target


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One process for all floods."""
    with attacked(tmp_path_factory.mktemp("flooded")) as target:
        yield target


@contextmanager
def attacked(folder: Path) -> Iterator[Target]:
    """A process to attack. At the end, its log must have no internal error."""
    with process(folder / "twins.log", "twins", "--port", "0", "--models", "50") as (_, cloud):
        config = folder / "gateway.toml"
        config.write_text(SETTINGS.replace("TWINS", cloud))
        with process(folder / "gateway.log", "serve", "--config", str(config), "--port", "0") as (pid, url):
            host, _, port = url.removeprefix("http://").removesuffix("/graphql").rpartition(":")
            yield Target(pid, host, int(port))
        log = (folder / "gateway.log").read_text()
        assert [line for line in log.splitlines() if " error " in line or "Traceback" in line] == []
