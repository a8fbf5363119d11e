"""The third-party files of the playground, and their download from npm.

The build runs this module on its own, so it imports only the standard library.
"""

import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).with_name("fetched")
TIMEOUT: Final = 60
"""The time limit for npm, in seconds."""

PACKAGES: Final = {
    "react@18.3.1": {
        "umd/react.production.min.js": "d949f1c3687aedadcedac85261865f29b17cd273997e7f6b2bfc53b2f9d4c4dd",
        "LICENSE": "52412d7bc7ce4157ea628bbaacb8829e0a9cb3c58f57f99176126bc8cf2bfc85",
    },
    "react-dom@18.3.1": {
        "umd/react-dom.production.min.js": "35f4f974f4b2bcd44da73963347f8952e341f83909e4498227d4e26b98f66f0d",
    },
    "graphiql@4.1.2": {
        "graphiql.min.css": "30487e07635d312a63f647b140d37740a73c53332b0975bf4b1fe985ca6ec885",
        "graphiql.min.js": "867226ba8af5ce7949903fc53932f78dac9f4bfc6cc8da0fd3869b8bc6c5256b",
        "LICENSE": "4b18fbe55c4e8f9169cb702be138f4d858a2dad920c39857204ffdc9c1c9fdc4",
    },
    "@graphiql/plugin-explorer@4.0.6": {
        "dist/style.css": "68909a4ae23bfadfc4591acb4e2b3c8d4f44153b9ae7fa3b7e7c319eba310ef1",
        "dist/index.umd.js": "50cf2c58e4b45daf722d8f39aba0a5874a45e2aa715fe4ce709e357e5102a81b",
    },
}
"""The files of each package with their SHA-256, in the order in which the page loads them."""


class Asset(NamedTuple):
    """A file: its package with the version, its path in the package, and its SHA-256 in hex."""

    package: str
    path: str
    sha256: str

    @property
    def file(self) -> str:
        """The file name on disk and in URLs. It contains a part of the hash, so that versions never mix."""
        return f"{self.sha256[:12]}-{Path(self.path).name}"


ASSETS: Final = tuple(
    Asset(package, path, digest) for package, files in PACKAGES.items() for path, digest in files.items()
)


class AssetsError(Exception):
    """The download failed. The message gives the reason in one line."""


def is_installed(folder: Path = FOLDER) -> bool:
    """Return whether the folder contains every file."""
    return all((folder / asset.file).is_file() for asset in ASSETS)


def fetch(folder: Path = FOLDER) -> None:
    """Download the files into the folder and remove all others, unless every file is there.

    Raises `AssetsError` and leaves the folder unchanged if npm is not installed, if the download fails, or if a file
    does not have the expected hash.
    """
    if is_installed(folder):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise AssetsError("npm is not installed")
    with TemporaryDirectory() as packages:
        command = [npm, "pack", *PACKAGES, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=packages, check=True, capture_output=True, timeout=TIMEOUT)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            raise AssetsError("npm could not download the packages") from None
        contents = {asset.file: _content(asset, Path(packages)) for asset in ASSETS}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _content(asset: Asset, packages: Path) -> bytes:
    """Extract a file from the archive that `npm pack` wrote, and verify its hash."""
    name = asset.package.lstrip("@").replace("/", "-").replace("@", "-")
    try:
        with tarfile.open(packages / f"{name}.tgz") as package:
            member = package.extractfile(f"package/{asset.path}")
            content = member.read() if member else b""
    except (OSError, tarfile.TarError, KeyError):
        content = b""
    if sha256(content).hexdigest() != asset.sha256:
        raise AssetsError(f"{asset.path} of {asset.package} does not have the expected hash")
    return content
