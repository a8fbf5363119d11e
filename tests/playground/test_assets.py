"""The download of the playground's files with npm, in the command, the wheel and the page."""

import asyncio
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from gateway import twins
from gateway.http.playground import NOT_INSTALLED
from gateway.http.playground.assets import ASSETS, AssetsError, fetch
from tests.test_command_line import ENVIRON
from tests.test_server import REGISTRY

ROOT = Path(__file__).parent.parent.parent
WITHOUT_NPM = ENVIRON | {"PATH": "/nowhere"}
FORGING_NPM = f"""#!{sys.executable}
import io, sys, tarfile
for package in sys.argv[2:]:
    if package.startswith("--"):
        continue
    with tarfile.open(package.lstrip("@").replace("/", "-").replace("@", "-") + ".tgz", "w:gz") as written:
        for path in ("umd/react.production.min.js", "LICENSE"):
            member = tarfile.TarInfo("package/" + path)
            member.size = 4
            written.addfile(member, io.BytesIO(b"evil"))
"""
BROKEN_NPM = f"#!{sys.executable}\nraise SystemExit('npm error at a secret place')\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the project's sources without the playground's files."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "gateway", copy / "gateway", ignore=shutil.ignore_patterns("fetched", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def run(copy: Path, *arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, timeout=100, check=False)


def build_wheel(copy: Path, environ: Mapping[str, str]) -> tuple[str, set[str]]:
    """Build a wheel. Returns the output of the build and the names of the playground's files in the wheel."""
    done = run(copy, "hatchling", "build", "-t", "wheel", "-d", "built", environ=environ)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "built").iterdir()
    with ZipFile(built) as archive:
        folder = "gateway/http/playground/fetched/"
        return done.stdout + done.stderr, {name[len(folder) :] for name in archive.namelist() if folder in name}


def test_without_its_files_the_page_and_the_log_say_how_to_install_them(copy: Path) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0", "--models", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=copy, env=WITHOUT_NPM, stdout=pipe, stderr=pipe, text=True) as demo:
        try:
            assert demo.stdout
            address = re.search(r"http://\S+/", demo.stdout.readline().partition("browser")[2])
            assert address
            with urllib.request.urlopen(address[0], timeout=30) as answer:  # noqa: S310
                page = answer.read().decode()
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        finally:
            demo.kill()
            _, log = demo.communicate()
    assert re.findall(r"<p>(.*)</p>", page) == [NOT_INSTALLED]
    assert "<script" not in page
    assert re.search(rf" warning gateway\.http {NOT_INSTALLED}\n", log)


def test_without_npm_the_command_fails_with_one_line(copy: Path) -> None:
    done = run(copy, "gateway", "assets", environ=WITHOUT_NPM)
    message = "gateway: the playground's files cannot be downloaded: npm is not installed\n"
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.parametrize(("profile", "status"), [("development", 1), ("production", 0)])
async def test_without_its_files_a_check_fails_where_the_playground_is_served(
    copy: Path, profile: str, status: int
) -> None:
    async with twins.serving(models=1) as twin:
        registry = REGISTRY.format(
            name="one", key=twins.QIANFAN_ACCESS_KEY, secret=twins.QIANFAN_SECRET_KEY, url=twin.url
        )
        (copy / "gateway.toml").write_text(f'[server]\nport = 0\nprofile = "{profile}"\n{registry}')
        done = await asyncio.to_thread(run, copy, "gateway", "check", environ=WITHOUT_NPM)
    assert done.returncode == status
    assert bool(re.search(rf"^playground +0\.0 ms  {NOT_INSTALLED}$", done.stdout, re.MULTILINE)) == bool(status)


def test_without_npm_the_wheel_has_no_playground(copy: Path) -> None:
    output, names = build_wheel(copy, WITHOUT_NPM)
    assert "The build does not contain the playground: npm is not installed." in output
    assert names == set()


@pytest.mark.usefixtures("files")
def test_with_npm_the_wheel_has_every_file(copy: Path) -> None:
    _, names = build_wheel(copy, ENVIRON)
    assert names == {asset.file for asset in ASSETS}


@pytest.mark.parametrize(
    ("npm", "message"),
    [
        (FORGING_NPM, "umd/react.production.min.js of react@18.3.1 does not have the expected hash"),
        (BROKEN_NPM, "npm could not download the packages"),
    ],
)
def test_a_failed_download_or_another_hash_leaves_the_folder_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: str, message: str
) -> None:
    (tmp_path / "npm").write_text(npm)
    (tmp_path / "npm").chmod(0o755)
    folder = tmp_path / "fetched"
    folder.mkdir()
    (folder / "old").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetsError, match=message):
        fetch(folder)
    assert [path.name for path in folder.iterdir()] == ["old"]


@pytest.mark.usefixtures("files")
def test_a_download_removes_the_files_of_other_versions(tmp_path: Path) -> None:
    folder = tmp_path / "fetched"
    folder.mkdir()
    (folder / "000000000000-graphiql.min.js").touch()
    fetch(folder)
    assert {path.name for path in folder.iterdir()} == {asset.file for asset in ASSETS}
