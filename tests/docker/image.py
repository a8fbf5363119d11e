"""Builds and runs the image of a Dockerfile without a container engine.

Every stage runs the Dockerfile's steps in an overlay over this machine's root folder, which stands in for the base
images. Files copied from other images must exist on this machine. The result runs with the user, folder and
environment of the Dockerfile, and with a read-only file system.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PATH = f"{sys.base_prefix}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"

FUNCTIONS = """
set -euo pipefail
mount -t tmpfs tmpfs "$top"
stage() {
    mkdir -p "$top/$1/changes" "$top/$1/work" "$top/$1/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$top/$1/changes,workdir=$top/$1/work" "$top/$1/root"
    mount --rbind /proc "$top/$1/root/proc"
    mount --rbind /dev "$top/$1/root/dev"
    chmod go+rx "$top/$1/root$HOME"  # Python may be installed there, and the image's user must be able to run it
    root="$top/$1/root"
    folder=/
}
workdir() {
    folder="$1"
    mkdir -p "$root$folder"
}
run() {
    chroot "$root" sh -ec "cd '$folder'; $1" >&2
}
copy() {
    local from="$1" to="${!#}"
    shift
    [[ "$to" == /* ]] || to="$folder/$to"
    while [[ $# -gt 1 ]]; do
        if [[ -d "$from/$1" ]]; then
            mkdir -p "$root$to"
            cp -a "$from/$1/." "$root$to"
        else
            mkdir -p "$root$(dirname "$to/.")"
            cp -a "$from/$1" "$root$to"
        fi
        shift
    done
}
"""


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def steps(dockerfile: Path) -> list[list[Step]]:
    """Return the instructions of each stage."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[Step]] = []
    for line in filter(str.strip, text.splitlines()):
        step = Step(*line.split(maxsplit=1))
        if step.word == "FROM":
            stages.append([])
        stages[-1].append(step)
    return stages


@dataclass(frozen=True, slots=True)
class Image:
    """A built image. It exists in the mount namespace of ``process``, as long as that process runs."""

    root: Path
    process: int
    last: tuple[Step, ...]
    size: int

    def argument(self, word: str) -> str:
        """Return the argument of an instruction in the last stage."""
        return next(step.rest for step in self.last if step.word == word)

    def words(self, instruction: str) -> list[str]:
        """Return the command of ENTRYPOINT, CMD or HEALTHCHECK, which must be in JSON form."""
        found: list[str] = json.loads(re.sub(r"^[^\[]*", "", self.argument(instruction)))
        return found

    def command(self, *words: str) -> list[str]:
        """Return the command that runs a program in the image, as its user and in its folder."""
        exports = "; ".join(f"export {step.rest}" for step in self.last if step.word == "ENV")
        return [
            *("nsenter", "--target", str(self.process), "--mount", "--"),
            *("chroot", f"--userspec={self.argument('USER')}", "--groups=", str(self.root)),
            *(
                "env",
                "-i",
                f"PATH={PATH}",
                "sh",
                "-ec",
                f'{exports}; cd {self.argument("WORKDIR")}; exec "$0" "$@"',
                *words,
            ),
        ]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def built(dockerfile: Path, repository: Path, folder: Path) -> Iterator[Image]:
    """Build the image from the files that git tracks or would add, if `.dockerignore` includes them.

    Fails if a step fails.
    """
    context, top = folder / "context", folder / "top"
    included = re.findall(r"^!(.+)$", (repository / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=repository, check=True, stdout=subprocess.PIPE, text=True).stdout.split(
        "\0"
    ):
        if name.partition("/")[0] in included and (repository / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, context / name)
    top.mkdir()
    stages = steps(dockerfile)
    last = f"{top}/{len(stages) - 1}"
    script = [f"top={top}", FUNCTIONS, *_script(stages, context)]
    script += [f"mount -o remount,ro {last}/root", f"du -sb {last}/changes | cut -f1", "read -r || true"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", "\n".join(script)],
            # Without this, a distribution's own Python refuses to install packages, even into a temporary root folder.
            env={**environment, "PATH": PATH, "PIP_BREAK_SYSTEM_PACKAGES": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            size = process.stdout.readline()
            assert size, (folder / "log").read_text(encoding="utf-8")
            yield Image(Path(last, "root"), process.pid, tuple(stages[-1]), int(size))
        finally:
            process.communicate()


def _script(stages: list[list[Step]], context: Path) -> Iterator[str]:
    """Yield the stages as a Bash script, with a subshell for each stage."""
    names: dict[str, int] = {}
    for number, stage in enumerate(stages):
        names[stage[0].rest.split()[-1]] = number
        yield f"( stage {number}"
        for word, rest in stage:
            match word:
                case "WORKDIR":
                    yield f"workdir {rest}"
                case "ENV":
                    yield f"export {rest}"
                case "RUN":
                    yield f"run {shlex.quote(rest)}"
                case "COPY":
                    source = re.match(r"--from=(\S+) +", rest)
                    if source is None:
                        yield f"copy {context} {rest}"
                    elif source[1] in names:
                        yield f"copy $top/{names[source[1]]}/root {rest[source.end() :]}"
        yield ")"
