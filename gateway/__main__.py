"""The command line: `gateway demo`, `twins`, `serve`, `schema`, `assets`, `cache`, `key` and `check`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.cli import DEFAULT_CONFIG, assets, cache, check, demo, key, schema, serve, told, twins


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return told(lambda: options.run(options))


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

    host, free = "address to listen on (default: %(default)s)", "; 0 takes any free one (default: %(default)s)"
    models = "models in the twins (default: %(default)s)"
    config = f"settings file (default: the file GATEWAY_CONFIG names, else {DEFAULT_CONFIG}, else only the environment)"

    option = command(
        demo, "Run the gateway over offline twins of both clouds.", "gateway demo --port 9000 --models 500"
    )
    option("--host", default="127.0.0.1", help=host)
    option("--port", type=_port, default=8000, help=f"port of the gateway{free}")
    option("--open", action="store_true", help="let anybody ask, on any address (default: only on a loopback address)")
    option("--twins-port", type=_port, default=0, metavar="PORT", help=f"port of the twins{free}")
    option("--models", type=_models, default=200, metavar="N", help=models)

    option = command(twins, "Run only the twins: offline clouds to point an SDK at.", "gateway twins --port 8100")
    option("--host", default="127.0.0.1", help=host)
    option("--port", type=_port, default=0, help=f"port of the twins{free}")
    option("--models", type=_models, default=200, metavar="N", help=models)

    option = command(serve, "Run the gateway over the configured registries.", "gateway serve --config gateway.toml")
    option("--config", type=Path, metavar="FILE", help=config)
    option("--host", help="address to listen on (default: server.host of the settings, 127.0.0.1)")
    option("--port", type=_port, help="port; 0 takes any free one (default: server.port of the settings, 8000)")
    option("--workers", type=_workers, metavar="N", help="processes (default: server.workers of the settings, 1)")

    option = command(schema, "Print the schema, or compare it with a file.", "gateway schema --check schema.graphql")
    compare = "compare with FILE; exit status 1 when it differs (default FILE: schema.graphql)"
    option("--check", nargs="?", const=Path("schema.graphql"), type=Path, metavar="FILE", help=compare)

    option = command(
        cache,
        "Show or purge what a running gateway keeps.",
        "gateway cache purge --registry pai --config gateway.toml",
    )
    option("action", choices=("stats", "purge"), help="show figures, or forget answers on every replica")
    option("--registry", metavar="NAME", help="purge only the answers of this registry")
    option("--id", help="purge only answers that may tell of the object of this global id")
    option("--url", help="address of the gateway (default: server.host and server.port of the settings)")
    option("--config", type=Path, metavar="FILE", help=config)

    option = command(
        key, "Make an API key: its entry for the file of keys, and itself.", "gateway key reports >> keys.toml"
    )
    option("name", help="whose key it is")
    option("--registries", nargs="+", default=["*"], metavar="PATTERN", help="registries to read (default: *)")
    option("--roles", nargs="+", default=["read"], metavar="ROLE", help="what the holder may do (default: read)")

    option = command(check, "Ask every configured registry for an answer.", "gateway check --config gateway.toml")
    option("--config", type=Path, metavar="FILE", help=config)

    command(assets, "Get the playground's files with npm, unless they are here.", "gateway assets")
    return parser


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _workers(text: str) -> int:
    return _whole(text, 1, 256)


def _models(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between {low} and {high}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
