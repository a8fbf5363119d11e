"""The commands: what each does, and how it says that it cannot."""

# What a command needs is imported when it runs: `gateway --version` must not wait for a web server.
import argparse
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    import socket

    from gateway.config.settings import Settings
    from gateway.http.prepared_requests import Application

DEFAULT_CONFIG = Path("gateway.toml")
QUERY = "{ models(first: 3) { nodes { id name registryName latestVersion { frameworkName } } } }"


class CommandError(Exception):
    """The command cannot go on: what to tell, a line each, and the exit status."""

    def __init__(self, *lines: str, status: int = 1) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.status = status


def told(work: Callable[[], int | Coroutine[Any, Any, int]]) -> int:
    """The exit status of some work; what keeps it from going on is told in plain lines."""
    try:
        answer = work()
        status = answer if isinstance(answer, int) else _run(answer)
        sys.stdout.flush()
    except CommandError as error:
        for line in error.lines:
            print(f"gateway: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output left; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _run(work: Coroutine[Any, Any, int]) -> int:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def demo(options: argparse.Namespace) -> int:
    with _listen(options.host, options.port) as listener:
        async with _running_twins(options.host, options.twins_port, options.models) as url:

            def announce(gateway: str) -> None:
                print(f"Gateway  {gateway}/graphql  (in a browser: {gateway}/)")
                print(f"Twins    {url}  (offline Alibaba PAI and Baidu Qianfan, {options.models} models)")
                print("\nA first query:\n")
                print(
                    f"  curl -s {gateway}/graphql -H 'Content-Type: application/json' -d '{{\"query\": \"{QUERY}\"}}'"
                )
                print('\nIt answers {"data": {"models": {"nodes": [...]}}}: three models, the newest first.')
                print("\nCtrl-C stops both.", flush=True)

            settings = _twin_settings(url, "open" if options.open else "loopback")
            return await _serve(lambda: settings, listener, announce, "let anybody ask with --open")


async def twins(options: argparse.Namespace) -> int:
    async with _stop_signal() as stopped, _running_twins(options.host, options.port, options.models) as url:
        from gateway import twins

        print(f"Twins    {url}  (offline Alibaba PAI and Baidu Qianfan, {options.models} models)")
        print("\nCredentials, which only the twins know:\n")
        for name in twins.CREDENTIALS:
            print(f"  {name} = {getattr(twins, name)}")
        print("\nControl:\n")
        print(f"  GET    {url}/_twin/calls   how often each call was made; DELETE starts again from none")
        print(f"  PUT    {url}/_twin/faults  how each call goes wrong from now on")
        print("\nCtrl-C stops them.", flush=True)
        await stopped.wait()
    return 0


def serve(options: argparse.Namespace) -> int:
    settings = _settings(options.config)
    host = settings.server.host if options.host is None else options.host
    port = settings.server.port if options.port is None else options.port
    workers = settings.server.workers if options.workers is None else options.workers
    ways = '"callers" (with access.keys or access.issuer), or let anybody ask with access.mode = "open"'
    with _listen(host, port) as listener:
        if settings.telemetry.metrics == "port":
            _listen(settings.telemetry.metrics_host, settings.telemetry.metrics_port).close()
        elif settings.telemetry.metrics == "path" and workers > 1:
            raise CommandError('telemetry.metrics = "path" shows one worker of several: make it "port"', status=2)
        remedy = f"say who may ask with access.mode = {ways}"

        def work(number: int = 0, again: bool = False) -> int:
            def announce(url: str) -> None:
                if number == 0 and not again:
                    print(f"Gateway  {url}/graphql", flush=True)

            return told(lambda: _serve(lambda: _read(options.config).of_worker(number), listener, announce, remedy))

        if workers == 1:
            return work()
        from gateway.server.workers import Workers

        import_module("gateway.app")  # once, for all workers
        return Workers(workers, work).run()


def schema(options: argparse.Namespace) -> int:
    from gateway.schema.schema import printed

    text = printed().rstrip("\n") + "\n"
    path: Path | None = options.check
    if path is None:
        sys.stdout.buffer.write(text.encode())
        return 0
    try:
        same = path.read_bytes() == text.encode()
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}; write it: gateway schema > {path}") from None
    if not same:
        raise CommandError(f"{path} is not the schema of the code; update it: gateway schema > {path}")
    return 0


def cache(options: argparse.Namespace) -> int:
    import json
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlencode
    from urllib.request import Request, urlopen

    if options.registry and options.id:
        raise CommandError("--registry and --id: only one of them at a time", status=2)
    settings = _settings(options.config)
    token = settings.cache.admin_token.reveal()
    if not token:
        raise CommandError("cache.admin_token is not set: the gateway has no door for this", status=2)
    url = options.url or f"http://{settings.server.host}:{settings.server.port}"
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"{url}: is not an http:// or https:// address", status=2)
    named = {"registry": options.registry, "id": options.id}
    query = urlencode({name: value for name, value in named.items() if value is not None})
    method = "GET" if options.action == "stats" else "DELETE"
    request = Request(f"{url}/cache?{query}", method=method, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urlopen(request, timeout=10) as response:  # noqa: S310
            said = json.load(response)
    except HTTPError as error:
        try:
            reason = json.load(error)["error"]
        except (ValueError, KeyError, TypeError):
            reason = f"status {error.code}"
        raise CommandError(f"{url}: {reason}") from None
    except (URLError, OSError):
        raise CommandError(f"{url}: does not answer") from None
    for name, value in said.items():
        print(f"{name:<16}{value}")
    return 0


def key(options: argparse.Namespace) -> int:
    from gateway.auth import api_keys as keys

    made = keys.new_key()
    entry = keys.as_entry(made, options.name, options.registries, options.roles)
    try:
        keys.parse(entry.encode())
    except ValueError as error:
        raise CommandError(str(error).removeprefix("keys[1]: "), status=2) from None
    print(f"The key of {options.name}, which is shown this once: {made}", file=sys.stderr)
    print(f"\n{entry}")
    return 0


async def check(options: argparse.Namespace) -> int:
    settings = _settings(options.config)
    from gateway.app import probe
    from gateway.config.settings import SettingsError

    try:
        probes = await probe(settings)
    except SettingsError as error:
        raise CommandError(*error.problems, status=2) from None
    width = max(len(one.registry) for one in probes)
    for one in probes:
        print(f"{one.registry:<{width}}  {one.seconds * 1000:7.1f} ms  {one.problem or 'ok'}")
    return 1 if any(one.problem for one in probes) else 0


def assets(options: argparse.Namespace) -> int:
    from gateway.http.playground.assets import FOLDER, AssetsError, fetch

    try:
        fetch()
    except AssetsError as error:
        raise CommandError(f"the playground's files cannot be had: {error}") from None
    except OSError as error:
        raise CommandError(f"{FOLDER}: cannot be written: {error.strerror}") from None
    print("The playground has its files.")
    return 0


def _settings(path: Path | None) -> "Settings":
    from gateway.config.settings import SettingsError

    try:
        return _read(path)
    except SettingsError as error:
        raise CommandError(*error.problems, status=2) from None


def _read(path: Path | None) -> "Settings":
    from gateway.config.loading import load
    from gateway.registries import KINDS

    if path is None and not os.environ.get("GATEWAY_CONFIG") and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    return load(path, os.environ, {name: kind.settings for name, kind in KINDS.items()})


def _twin_settings(url: str, mode: str) -> "Settings":
    from gateway import twins
    from gateway.config.settings import AccessSettings, Secret, ServerSettings, Settings, TelemetrySettings
    from gateway.registries.pai import PaiSettings
    from gateway.registries.qianfan import QianfanSettings

    pai = PaiSettings(
        name="pai",
        kind="pai",
        region="cn-hangzhou",
        access_key_id=twins.PAI_KEY_ID,
        access_key_secret=Secret(twins.PAI_SECRET),
        models_endpoint=url,
        algorithms_endpoint=url,
    )
    qianfan = QianfanSettings(
        name="qianfan",
        kind="qianfan",
        access_key=twins.QIANFAN_ACCESS_KEY,
        secret_key=Secret(twins.QIANFAN_SECRET_KEY),
        endpoint=url,
    )
    return Settings(
        server=ServerSettings(profile="development"),
        access=AccessSettings(mode=mode),
        telemetry=TelemetrySettings(metrics="path"),
        registries=(pai, qianfan),
    )


@asynccontextmanager
async def _running_twins(host: str, port: int, models: int) -> AsyncIterator[str]:
    from gateway.twins import serving

    _listen(host, port).close()
    async with serving(host, port, models) as running:
        yield running.url


def _listen(host: str, port: int) -> "socket.socket":
    """A listening socket: a port that is taken is told before anything else is started."""
    import socket

    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)  # names TCP, or no server turns Nagle's algorithm off
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
        return listener
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number and number > 0 else error.args[-1]
        raise CommandError(f"cannot listen on {host}:{port}: {reason}") from None


YOUNG: Final = 20_000
"""Objects after which Python looks for circles among the new ones: some requests make thousands, and few circles."""


async def _serve(
    read: "Callable[[], Settings]", listener: "socket.socket", announce: Callable[[str], None], remedy: str
) -> int:
    """Serve until told to stop, by the settings of the start and of each reload; ``remedy`` says how to let others
    ask, where nothing says who may."""
    from ipaddress import ip_address

    from gateway.app import Kept, create_app
    from gateway.config.settings import SettingsError
    from gateway.server.runner import Current, Server
    from gateway.telemetry.logs import configure

    host, port = listener.getsockname()[:2]
    kept = Kept()

    def build() -> "Application":
        settings = read()
        configure(settings.telemetry)
        if settings.access.mode == "loopback" and not ip_address(host).is_loopback:
            raise SettingsError((f"{host} can be reached by others: {remedy}",))
        return create_app(settings, kept=kept)

    try:
        current = Current(build)
        await current.reload()
        gc.freeze()  # what stands here stays: it is looked through no more
        gc.set_threshold(YOUNG)
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        server = Server(current, lambda: announce(url), read())
        async with _stop_signal():  # uvicorn stops at the signal and then raises it once more, for these handlers
            return await server.run_on(listener)
    except SettingsError as error:
        raise CommandError(*error.problems, status=2) from None


@asynccontextmanager
async def _stop_signal() -> "AsyncIterator[asyncio.Event]":
    """Ctrl-C and SIGTERM set the event instead of ending the process."""
    import asyncio
    import signal

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    yield stopped
