"""The messages in docs/troubleshooting.md are those that the gateway prints."""

import ast
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Cause, RegistryError
from tests.documentation import ROOT, text
from tests.test_command_line import ENVIRON
from tests.test_documentation import error_types
from tests.test_server import REGISTRY

PAGE = text("docs/troubleshooting.md")
ONE = REGISTRY.format(name="one", key="a", secret="b", url="http://127.0.0.1:1")


def messages(heading: str) -> list[str]:
    """The messages in the first column of a section's table."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


START = messages("The gateway does not start")
OTHERS = [
    *messages("A registry fails"),
    *messages("Redis, tokens and other servers"),
    *messages("Clients get errors"),
]


def test_the_page_has_the_twenty_most_likely_failures() -> None:
    assert len(START) + len(OTHERS) >= 20
    assert len({*START, *OTHERS}) == len(START) + len(OTHERS)


# Problems at start-up: the gateway prints them

FILES: dict[str, str | None] = {
    "no registry is configured": None,
    "cannot be read": None,
    "not valid TOML": "[server]\nhost localhost\n",
    "[[registries]]": f"[server]\nport = 0\n{ONE}".replace("[[registries]]", "[registries]"),
    'unknown key "hots"': f"[server]\nhots = 1\n{ONE}",
    "refusing to listen": f'[server]\nhost = "0.0.0.0"\nport = 0\n{ONE}',
    "Address already in use": f"[server]\nport = PORT\n{ONE}",
    "cache.redis": f'[cache]\nredis = "redis://:p#ss@h"\n{ONE}',
    "the variable": f"[server]\nport = 0\n{ONE}".replace('"b"', '"${QIANFAN_SECRET_KEY}"'),
    "access.keys: ": f'[server]\nport = 0\n[access]\nmode = "callers"\nkeys = "keys.toml"\n{ONE}',
    "server.tls_certificate": f'[server]\nport = 0\ntls_certificate = "tls.pem"\n{ONE}',
}


@pytest.mark.parametrize("message", START)
def test_the_gateway_prints_the_problem_at_start_up(message: str, tmp_path: Path) -> None:
    [content] = [content for part, content in FILES.items() if part in message]
    (tmp_path / "tls.pem").write_text("nothing")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        if content is not None:
            (tmp_path / "gateway.toml").write_text(content.replace("PORT", port))
        arguments = ("--config", "gateway.toml") if "cannot be read" in message else ()
        command = [sys.executable, "-m", "gateway", "serve", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, cwd=tmp_path, timeout=60)
    assert done.returncode in (1, 2)
    shown, cut, _ = message.replace(":8000", f":{port}").partition(" …")
    said = done.stderr.rstrip("\n")
    assert said.startswith(shown) if cut else said == shown


# The others: templates of the code


def template(node: ast.expr) -> str | None:
    """The regular expression of what a text of the code becomes, None for a text with too few words of its own."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
        literal = "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        literal = re.sub(r"%(?:\.\d+)?[sdf]|\{\w+\}", "\0", node.value)
    else:
        return None
    words = re.findall(r"\w{2,}", literal)
    return re.escape(literal).replace("\0", ".*?") if len(words) >= 3 else None


def written() -> Iterator[str]:
    """The expressions of all texts in the code, and those of errors of registries."""
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.expr) and (found := template(node)) is not None:
                yield found
    for kind in error_types(RegistryError)[1:]:
        if hasattr(kind, "problem"):
            yield re.escape(str(kind("pai")))  # type: ignore[arg-type]
    yield from map(re.escape, Cause)


WRITTEN = [re.compile(pattern) for pattern in {*written()}]


def is_written(message: str) -> bool:
    return any(pattern.fullmatch(message) for pattern in WRITTEN)


@pytest.mark.parametrize("message", OTHERS)
def test_the_code_has_the_message(message: str) -> None:
    sentence, _, cause = message.partition(". (")
    if cause:
        assert is_written(cause.removesuffix(")")), cause
        message = f"{sentence}."
    assert is_written(message)


def test_other_texts_are_not_found() -> None:
    for message in ("The registry is away, try again later.", "cannot listen", 'Registry "pai" is gone.', "x"):
        assert not is_written(message)


def test_the_page_has_the_message_about_a_wrong_clock() -> None:
    assert "the gateway's clock is 900 s behind the registry's" in PAGE
    assert is_written("the gateway's clock is 900 s behind the registry's")
