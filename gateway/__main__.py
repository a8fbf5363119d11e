"""Argument parser of the command line. The commands themselves are in `gateway.cli`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.cli import DEFAULT_CONFIG, assets, cache, check, demo, key, run_command, scaffold, schema, serve, twins


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return run_command(lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    about = "One GraphQL graph over many model registries."
    parser = argparse.ArgumentParser(prog="gateway", description=about, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable[[argparse.Namespace], Any], about: str, example: str) -> Callable[..., argparse.Action]:
        added = subparsers.add_parser(
            run.__name__,
            help=about,
            description=about,
            epilog=f"Example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=run)
        return added.add_argument

    host, free = "address to listen on (default: %(default)s)", "; 0 picks a free port (default: %(default)s)"
    models = "number of generated models, a third of them in each twin (default: %(default)s)"
    config = f"settings file (default: $GATEWAY_CONFIG, else {DEFAULT_CONFIG} if it exists, else only the environment)"

    option = command(
        demo, "Run the gateway over offline twins of PAI, Qianfan and MLflow.", "gateway demo --port 9000 --models 500"
    )
    option("--host", default="127.0.0.1", help=host)
    option("--port", type=_port, default=8000, help=f"port of the gateway{free}")
    option("--open", action="store_true", help="serve anyone, on any address (default: only on a loopback address)")
    option("--twins-port", type=_port, default=0, metavar="PORT", help=f"port of the twins{free}")
    option("--models", type=_models, default=300, metavar="N", help=models)

    option = command(
        twins, "Run only the twins, offline stand-ins for the registries' APIs.", "gateway twins --port 8100"
    )
    option("--host", default="127.0.0.1", help=host)
    option("--port", type=_port, default=0, help=f"port of the twins{free}")
    option("--models", type=_models, default=300, metavar="N", help=models)

    option = command(serve, "Run the gateway over the configured registries.", "gateway serve --config gateway.toml")
    option("--config", type=Path, metavar="FILE", help=config)
    option("--host", help="address to listen on (default: the setting server.host, 127.0.0.1)")
    option("--port", type=_port, help="port; 0 picks a free port (default: the setting server.port, 8000)")
    option("--workers", type=_workers, metavar="N", help="worker processes (default: the setting server.workers, 1)")

    option = command(schema, "Print the schema, or compare it with a file.", "gateway schema --check schema.graphql")
    compare = "compare with FILE; exit status 1 when it differs (default FILE: schema.graphql)"
    option("--check", nargs="?", const=Path("schema.graphql"), type=Path, metavar="FILE", help=compare)

    option = command(
        cache,
        "Show or purge the cache of a running gateway.",
        "gateway cache purge --registry pai --config gateway.toml",
    )
    option("action", choices=("stats", "purge"), help="show statistics, or delete entries on every replica")
    option("--registry", metavar="NAME", help="purge only responses of this registry (default: all)")
    option("--id", help="purge only responses that may contain the object with this global id (default: all)")
    option("--url", help="URL of the gateway (default: from the settings server.host and server.port)")
    option("--config", type=Path, metavar="FILE", help=config)

    option = command(key, "Create an API key and its entry for the file of keys.", "gateway key reports >> keys.toml")
    option("name", help="name of the caller")
    option(
        "--registries", nargs="+", default=["*"], metavar="PATTERN", help="registries the caller may read (default: *)"
    )
    option("--roles", nargs="+", default=["read"], metavar="ROLE", help="roles of the caller (default: read)")

    option = command(check, "Call every configured registry once.", "gateway check --config gateway.toml")
    option("--config", type=Path, metavar="FILE", help=config)

    command(assets, "Download the playground's files with npm, unless they are present.", "gateway assets")

    option = command(
        scaffold,
        "Write a new kind of registry, from recorded answers, into a checkout of the repository.",
        "gateway scaffold acme --list https://hub.example.com/v1/models models.json \\\n"
        "    --object https://hub.example.com/v1/models/m-1 model.json --versions releases \\\n"
        "    --error missing.txt",
    )
    answer = ("URL", "FILE")
    option("kind", help="name of the kind, such as acme")
    option(
        "--list",
        nargs=2,
        metavar=answer,
        required=True,
        help="URL that lists models, and its saved answer (no default)",
    )
    option("--object", nargs=2, metavar=answer, help="the same of one model (default: the list has all there is of it)")
    option("--versions", metavar="KEY", help="key of the versions in the answer of --object (default: no versions)")
    option(
        "--error",
        metavar="FILE",
        help="answer for a model that does not exist, without --object that to a wrong token, as `curl -si` prints it "
        "(default: it remains to be filled in)",
    )
    return parser


def _port(text: str) -> int:
    return _integer(text, 0, 65535)


def _workers(text: str) -> int:
    return _integer(text, 1, 256)


def _models(text: str) -> int:
    return _integer(text, 1, 1_000_000)


def _integer(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between {low} and {high}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
