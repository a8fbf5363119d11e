"""The package's metadata, and lock files that satisfy `pyproject.toml`."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = {
    "requirements.lock": PROJECT["dependencies"] + EXTRAS["otel"],
    "requirements-build.lock": PYPROJECT["build-system"]["requires"],
    "requirements-dev.lock": PROJECT["dependencies"] + EXTRAS["dev"],
}


def locked(name: str) -> dict[str, list[Version]]:
    """Return the versions that a lock file names, by package; several where they differ by platform."""
    found: dict[str, list[Version]] = {}
    for package, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(package), []).append(Version(version))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_satisfies_every_requirement(name: str) -> None:
    versions = locked(name)
    for requirement in map(Requirement, LOCKS[name]):
        found = versions.get(canonicalize_name(requirement.name), [])
        assert any(version in requirement.specifier for version in found), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_a_hash_for_every_package_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)


def test_the_development_lock_has_the_same_versions_as_the_runtime_lock() -> None:
    development = locked("requirements-dev.lock")
    for name, versions in locked("requirements.lock").items():
        assert development[name] == versions


@pytest.mark.parametrize("group", ["dependencies", *EXTRAS])
def test_each_requirement_is_listed_once_and_in_order(group: str) -> None:
    listed = PROJECT["dependencies"] if group == "dependencies" else EXTRAS[group]
    names = [canonicalize_name(Requirement(one).name) for one in listed]
    assert names == sorted(set(names))


def test_the_table_of_direct_dependencies_is_complete() -> None:
    page = (ROOT / "docs" / "decisions" / "dependencies.md").read_text(encoding="utf-8")
    table = re.search(r"### Direct dependencies\n(.*?)###", page, re.DOTALL)
    assert table is not None
    listed = re.findall(r"[a-z][a-z-]+", " ".join(re.findall(r"^\| ([^|]+) \|", table[1], re.MULTILINE)))
    assert {Requirement(one).name for one in PROJECT["dependencies"]} <= set(listed)


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "gateway" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]
