"""Virtual environments with locked packages that differ from those of the gateway. Each is made once."""

import subprocess
import venv
from fcntl import LOCK_EX, flock
from pathlib import Path

from tests import npm


def interpreter(locked: Path, environment: Path) -> Path:
    """Return a Python with the packages of a requirements file.

    Without the network, the test is skipped; on continuous integration it fails.
    """
    python, stamp = environment / "bin" / "python", environment / locked.name
    with locked.open("rb") as file:
        flock(file, LOCK_EX)  # for other processes that run tests
        if not stamp.exists() or stamp.read_bytes() != locked.read_bytes():
            venv.create(environment, clear=True, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1"]
            done = subprocess.run([*install, "-r", locked], capture_output=True, text=True, check=False)
            if done.returncode:
                npm.missing(f"pip cannot install {locked.name}: {done.stderr.strip().splitlines()[-1]}")
            stamp.write_bytes(locked.read_bytes())
    return python
