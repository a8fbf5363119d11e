"""A Dockerfile without an engine: its steps, word for word, in root folders of their own over this machine's.

Every base image is this machine, seen through an overlay that takes all changes; what another image is copied from,
this machine has already. The result is run as the Dockerfile says: its user, folder and environment, nothing else of
the environment, and no file that can be written.
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
    chmod go+rx "$top/$1/root$HOME"  # a Python may be in there, which the image's user runs
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
    """The instructions of each stage."""
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
    """A built image, as long as the process lives in whose mount namespace it is."""

    root: Path
    process: int
    last: tuple[Step, ...]
    size: int

    def said(self, word: str) -> str:
        """What the last stage says with an instruction."""
        return next(step.rest for step in self.last if step.word == word)

    def words(self, instruction: str) -> list[str]:
        """The command in its JSON form: of ENTRYPOINT, CMD or HEALTHCHECK."""
        found: list[str] = json.loads(re.sub(r"^[^\[]*", "", self.said(instruction)))
        return found

    def command(self, *words: str) -> list[str]:
        """What runs a program in the image, as its user and in its folder."""
        given = "; ".join(f"export {step.rest}" for step in self.last if step.word == "ENV")
        return [
            *("nsenter", "--target", str(self.process), "--mount", "--"),
            *("chroot", f"--userspec={self.said('USER')}", "--groups=", str(self.root)),
            *("env", "-i", f"PATH={PATH}", "sh", "-ec", f'{given}; cd {self.said("WORKDIR")}; exec "$0" "$@"', *words),
        ]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def built(dockerfile: Path, repository: Path, folder: Path) -> Iterator[Image]:
    """The image of the files that git knows, or would take, and `.dockerignore` lets in. Fails where a step does."""
    context, top = folder / "context", folder / "top"
    let_in = re.findall(r"^!(.+)$", (repository / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=repository, check=True, stdout=subprocess.PIPE, text=True).stdout.split(
        "\0"
    ):
        if name.partition("/")[0] in let_in and (repository / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, context / name)
    top.mkdir()
    stages = steps(dockerfile)
    last = f"{top}/{len(stages) - 1}"
    script = [f"top={top}", FUNCTIONS, *_script(stages, context)]
    script += [f"mount -o remount,ro {last}/root", f"du -sb {last}/changes | cut -f1", "read -r || true"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with (folder / "said").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", "\n".join(script)],
            # The root folders are thrown away; a distribution's own Python would refuse to install into one.
            env={**environment, "PATH": PATH, "PIP_BREAK_SYSTEM_PACKAGES": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        assert process.stdout is not None
        try:
            size = process.stdout.readline()
            assert size, (folder / "said").read_text(encoding="utf-8")
            yield Image(Path(last, "root"), process.pid, tuple(stages[-1]), int(size))
        finally:
            process.communicate()


def _script(stages: list[list[Step]], context: Path) -> Iterator[str]:
    """The stages in bash, each in a shell of its own."""
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
                    origin = re.match(r"--from=(\S+) +", rest)
                    if origin is None:
                        yield f"copy {context} {rest}"
                    elif origin[1] in names:
                        yield f"copy $top/{names[origin[1]]}/root {rest[origin.end() :]}"
        yield ")"
