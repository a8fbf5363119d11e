"""JavaScript judges of the gateway: a folder with `package.json` and its lock, installed once, and scripts run in it.

Where Node or a package is not to be had the tests skip, and on continuous integration (`CI` is set) they fail.
"""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

OLDEST: Final = 20


def installed(folder: Path) -> Path:
    """The folder with its locked packages installed, without running anything of theirs."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        missing("Node.js and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST:
        missing(f"Node.js {OLDEST} or newer is not installed, only {version}")
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / ".installed"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            missing(f"npm cannot install {folder.name}/package-lock.json: {' '.join(done.stderr.split())[:300]}")
        stamp.touch()
    return folder


def missing(reason: str) -> NoReturn:
    """Skip the test for want of a tool; on continuous integration fail it."""
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


async def node(folder: Path, script: str, *arguments: str, seconds: float = 60) -> str:
    """What a script of an installed folder prints; the test fails with all that it said when the script fails."""
    return await said(folder, "node", script, *arguments, seconds=seconds)


async def said(folder: Path, program: str, script: str, *arguments: str, seconds: float = 60) -> str:
    """The same for any program that runs scripts."""
    process = await asyncio.create_subprocess_exec(
        program, script, *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        printed, complained = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{script} failed:\n{printed.decode()}\n{complained.decode()}"
    return printed.decode()
