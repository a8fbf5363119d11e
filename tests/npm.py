"""Runs JavaScript tools in a folder with `package.json` and a lock file, whose packages are installed once.

Without Node.js or a package, tests are skipped; on continuous integration (`CI` is set) they fail.
"""

import asyncio
import os
import shutil
import subprocess
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final, NoReturn

import pytest

OLDEST_NODE: Final = 20


def installed(folder: Path) -> Path:
    """Install the locked packages of a folder without running their scripts, and return the folder."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        missing("Node.js and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        missing(f"Node.js {OLDEST_NODE} or newer is not installed, only {version}")
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / ".installed"
    with lock.open() as file:
        flock(file, LOCK_EX)  # for other processes that run tests
        install(folder, lock, stamp)
    return folder


def install(folder: Path, lock: Path, stamp: Path) -> None:
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            missing(f"npm cannot install {folder.name}/package-lock.json: {' '.join(done.stderr.split())[:300]}")
        stamp.touch()


def missing(reason: str) -> NoReturn:
    """Skip the test because a tool is missing; fail it on continuous integration."""
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


async def node(folder: Path, script: str, *arguments: str, seconds: float = 60) -> str:
    """Run a script of an installed folder with Node.js, and return its output. Fails the test if the script fails."""
    return await run(folder, "node", script, *arguments, seconds=seconds)


async def run(folder: Path, program: str, script: str, *arguments: str, seconds: float = 60) -> str:
    """Run a script with any program, and return its output. Fails the test if the script fails."""
    process = await asyncio.create_subprocess_exec(
        program, script, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        printed, errors = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{script} failed:\n{printed.decode()}\n{errors.decode()}"
    return printed.decode()
