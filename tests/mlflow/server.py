"""MLflow servers in processes of their own, filled by the official client."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from tests import environments

HERE = Path(__file__).parent
ADMIN, PASSWORD = "admin", "an-Admin-pässword-1"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass(frozen=True)
class MlflowServer:
    """A running server, and what the official client reads from it: see `tests.mlflow.seed`."""

    url: str
    models: Mapping[str, Any]
    orders: Mapping[str, list[str]]


@contextmanager
def serving(folder: Path, names: int, *options: str, **variables: str) -> Iterator[MlflowServer]:
    """Start a server with its files in a folder, and fill it, with ``names`` models of unusual names."""
    python = environments.interpreter(HERE / "requirements.txt", HERE / "build" / "venv")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python.with_name("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", folder, *options]
    environment = {**os.environ, **QUIET, **variables}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            lines: list[bytes] = []
            while b"Uvicorn running" not in (line := process.stdout.readline()):
                lines.append(line)
                assert line, b"".join(lines).decode()
            Thread(target=process.stdout.read, daemon=True).start()
            url = f"http://127.0.0.1:{port}"
            seeded = subprocess.run(
                [python, HERE / "seed.py", url, str(names)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert seeded.returncode == 0, seeded.stderr
            yield MlflowServer(url, **json.loads(seeded.stdout))
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def serving_with_users(folder: Path) -> Iterator[MlflowServer]:
    """Start a server that expects a user name and password. It checks them slowly, so it has few models."""
    (folder / "auth.ini").write_text(
        f"""[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {ADMIN}
admin_password = {PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = true
""",
        encoding="utf-8",
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/auth.ini",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret",
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    }
    with serving(folder, 2, "--app-name", "basic-auth", **variables) as server:
        yield server
