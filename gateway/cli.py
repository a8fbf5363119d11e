"""Commands of the command line."""

# Each command imports what it needs when it runs, so that `gateway --version` does not load a web server.
import argparse
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    import socket

    from starlette.types import ASGIApp

    from gateway.app import Probe
    from gateway.config.settings import Settings
    from gateway.telemetry.worker_metrics import WorkerMetrics

DEFAULT_CONFIG = Path("gateway.toml")
QUERY = "{ models(first: 3) { nodes { id name registryName latestVersion { frameworkName } } } }"


class CommandError(Exception):
    """A command failed. ``lines`` are the messages for standard error; ``status`` is the exit status."""

    def __init__(self, *lines: str, status: int = 1) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.status = status


def run_command(command: Callable[[], int | Coroutine[Any, Any, int]]) -> int:
    """Run a command and return its exit status. Failures are printed without a traceback."""
    try:
        result = command()
        status = result if isinstance(result, int) else _run(result)
        sys.stdout.flush()
    except CommandError as error:
        for line in error.lines:
            print(f"gateway: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of standard output is gone. Without this the interpreter would flush it again at exit and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _run(main: Coroutine[Any, Any, int]) -> int:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def demo(options: argparse.Namespace) -> int:
    """Serve the gateway over its own twins until stopped."""
    with _listen(options.host, options.port) as listener:
        async with _running_twins(options.host, options.twins_port, options.models) as url:

            def announce(gateway: str) -> None:
                print(f"Gateway  {gateway}/graphql  (in a browser: {gateway}/)")
                print(f"Agents   {gateway}/mcp  (Model Context Protocol)")
                print(f"Twins    {url}  (offline Alibaba PAI, Baidu Qianfan and MLflow, {options.models} models)")
                print("\nA first query:\n")
                print(
                    f"  curl -s {gateway}/graphql -H 'Content-Type: application/json' -d '{{\"query\": \"{QUERY}\"}}'"
                )
                print('\nIt returns {"data": {"models": {"nodes": [...]}}}: three models, newest first.')
                print("\nCtrl-C stops both.", flush=True)

            settings = _twin_settings(url, "open" if options.open else "loopback")
            return await _serve(settings, lambda: settings, listener, announce, "add --open to serve anyone")


async def twins(options: argparse.Namespace) -> int:
    """Serve the twins until stopped."""
    async with _stop_signal() as stopped, _running_twins(options.host, options.port, options.models) as url:
        from gateway import twins

        print(f"Twins    {url}  (offline Alibaba PAI, Baidu Qianfan and MLflow, {options.models} models)")
        print("\nCredentials, valid for the twins only:\n")
        for name in twins.CREDENTIALS:
            print(f"  {name} = {getattr(twins, name)}")
        print("\nControl:\n")
        print(f"  GET    {url}/_twin/calls   number of requests by call; DELETE resets the counters")
        print(f"  PUT    {url}/_twin/faults  faults to inject, by call")
        print("\nCtrl-C stops them.", flush=True)
        await stopped.wait()
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve the configured registries until stopped."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until the server can reload its settings
    settings = _settings(options.config)
    host = settings.server.host if options.host is None else options.host
    port = settings.server.port if options.port is None else options.port
    workers = settings.server.workers if options.workers is None else options.workers

    path = settings.server.socket if options.host is None and options.port is None else ""
    with _listen_locally(path) if path else _listen(host, port) as listener:
        if settings.telemetry.metrics == "port":
            _listen(settings.telemetry.metrics_host, settings.telemetry.metrics_port).close()

        def run_worker(number: int = 0, replaced: bool = False) -> int:
            def announce(url: str) -> None:
                if number == 0 and not replaced:
                    print(f"Gateway  {url}/graphql", flush=True)

            if metrics is not None:
                metrics.begin(number)
            initial = _reloaded(options.config, settings) if replaced else settings
            return run_command(
                lambda: _serve(
                    initial,
                    lambda: _load(options.config),
                    listener,
                    announce,
                    workers=metrics,
                    all_stop=stopping.is_set,
                )
            )

        from gateway.server.workers import SharedFlag, Workers

        stopping = SharedFlag()
        if workers == 1:
            metrics = None
            stopping.set()
            return run_worker()
        from gateway.telemetry.worker_metrics import WorkerMetrics

        import_module("gateway.app")  # before the fork, so that the workers share its memory
        metrics = WorkerMetrics(workers)
        return Workers(workers, run_worker, metrics.end, listener, stopping).run()


def schema(options: argparse.Namespace) -> int:
    """Print the schema, or compare it with a file."""
    from gateway.schema.schema import print_sdl

    text = print_sdl().rstrip("\n") + "\n"
    path: Path | None = options.check
    if path is None:
        sys.stdout.buffer.write(text.encode())
        return 0
    try:
        same = path.read_bytes() == text.encode()
    except OSError as error:
        raise CommandError(
            f"{path}: cannot be read: {error.strerror}; create it with: gateway schema > {path}"
        ) from None
    if not same:
        raise CommandError(f"{path} differs from the schema of the code; update it with: gateway schema > {path}")
    return 0


def cache(options: argparse.Namespace) -> int:
    """Show statistics of the cache of a running gateway, or purge it."""
    import json
    from ssl import SSLCertVerificationError
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlencode
    from urllib.request import Request, urlopen

    if options.registry and options.id:
        raise CommandError("--registry and --id cannot be combined", status=2)
    settings = _settings(options.config)
    token = settings.cache.admin_token.reveal()
    if not token:
        raise CommandError("cache.admin_token is not set; this command needs it to access /cache", status=2)
    url = options.url or _url(settings, settings.server.host, settings.server.port)
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"{url}: not an http:// or https:// URL", status=2)
    parameters = {"registry": options.registry, "id": options.id}
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    method = "GET" if options.action == "stats" else "DELETE"
    request = Request(f"{url}/cache?{query}", method=method, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urlopen(request, timeout=10) as response:  # noqa: S310
            result = json.load(response)
    except HTTPError as error:
        try:
            reason = json.load(error)["error"]
        except (ValueError, KeyError, TypeError):
            reason = f"status {error.code}"
        raise CommandError(f"{url}: {reason}") from None
    except OSError as error:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, SSLCertVerificationError):
            reason = f"its certificate is refused ({cause.verify_message.rstrip('.')}); set --url or SSL_CERT_FILE"
        else:
            reason = "no response from a gateway"
        raise CommandError(f"{url}: {reason}") from None
    for name, value in result.items():
        print(f"{name:<16}{', '.join(value) if isinstance(value, list) else value}")
    return 0


def key(options: argparse.Namespace) -> int:
    """Create an API key: print its entry to standard output, and the key itself to standard error."""
    from gateway.auth import api_keys

    new_key = api_keys.new_key()
    entry = api_keys.format_entry(new_key, options.name, options.registries, options.roles)
    try:
        api_keys.parse(entry.encode())
    except ValueError as error:
        raise CommandError(str(error).removeprefix("keys[1]: "), status=2) from None
    print(f"API key of {options.name} (it cannot be shown again): {new_key}", file=sys.stderr)
    print(f"\n{entry}")
    return 0


async def check(options: argparse.Namespace) -> int:
    """Test all that `serve` needs: the settings and files, the ports, each registry, and other servers.

    The exit status is 2 for problems of settings and files, and 1 for what cannot be used at the moment.
    """
    import logging

    settings = _settings(options.config)
    from gateway.app import create_app, probe
    from gateway.config.settings import SettingsError, gathering

    logging.getLogger("gateway.upstream").addHandler(logging.NullHandler())  # the problems are in the output
    problems: list[str] = []
    ports = list(_check_ports(settings))
    with gathering(problems):
        if not settings.server.socket:
            _check_exposure(settings, settings.server.host)
    with gathering(problems):
        create_app(settings)
    try:
        probes = [] if problems else await probe(settings)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise CommandError(*problems, status=2)
    probes += [port for port in ports if port.problem]
    width = max(len(result.name) for result in probes)
    for result in probes:
        working = f"ok, {result.note}" if result.note else "ok"
        outcome = f"{result.problem} {result.hint}".rstrip() if result.problem else working
        print(f"{result.name:<{width}}  {result.seconds * 1000:7.1f} ms  {outcome}")
    return 1 if any(result.problem for result in probes) else 0


def _check_ports(settings: "Settings") -> "Iterator[Probe]":
    """Test whether `serve` can listen. A gateway that listens there already is no problem."""
    import socket
    from time import perf_counter

    from gateway.app import Probe

    server, telemetry = settings.server, settings.telemetry
    tests: list[tuple[str, Callable[[], socket.socket], Callable[[], bool]]] = []
    if server.socket:
        path = server.socket
        tests.append(("server.socket", partial(_listen_locally, path), partial(_accepts, path)))
    else:
        url = _url(settings, server.host, server.port)
        known = partial(_answers, f"{url}/healthz", b'{"status":"ok"}')
        tests.append(("server.port", partial(_listen, server.host, server.port), known))
    if telemetry.metrics == "port":
        host, port = telemetry.metrics_host, telemetry.metrics_port
        known = partial(_answers, f"http://{host}:{port}/metrics", b"gateway_info")
        tests.append(("telemetry.metrics_port", partial(_listen, host, port), known))
    for name, listen, is_gateway in tests:
        started, problem = perf_counter(), None
        try:
            listen().close()
        except CommandError as error:
            problem = None if is_gateway() else error.lines[0]
        yield Probe(name, perf_counter() - started, problem)
    if server.socket:
        with suppress(OSError):
            if not _accepts(server.socket):
                os.unlink(server.socket)  # the test made it


def _answers(url: str, content: bytes) -> bool:
    """Whether a server answers with this content."""
    import ssl
    from urllib.request import urlopen

    unverified = ssl.create_default_context()  # nothing secret is sent or believed
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        with urlopen(url, timeout=2, context=unverified) as response:  # noqa: S310
            return content in response.read(1 << 20)
    except (OSError, ValueError):
        return False


def assets(options: argparse.Namespace) -> int:
    """Download the playground's files."""
    from gateway.http.playground.assets import FOLDER, AssetsError, fetch

    try:
        fetch()
    except AssetsError as error:
        raise CommandError(f"the playground's files cannot be downloaded: {error}") from None
    except OSError as error:
        raise CommandError(f"{FOLDER}: cannot be written: {error.strerror}") from None
    print("The playground's files are in place.")
    return 0


def scaffold(options: argparse.Namespace) -> int:
    """Write a new kind of registry, from recorded answers, into a checkout of the repository."""
    root = Path(__file__).parent.parent
    if not (root / "tests" / "registries" / "scaffold.py").is_file():
        raise CommandError(
            "scaffold writes into a checkout of the repository, and this gateway is installed without one; clone the "
            "repository and use its .venv/bin/gateway, which `make check` installs",
            status=2,
        )
    sys.path.insert(0, str(root))
    try:
        scaffold = import_module("tests.registries.scaffold")
    except ModuleNotFoundError as error:
        raise CommandError(
            f"scaffold needs the development tools ({error.name} is missing): run `make check`"
        ) from None
    try:
        listed = scaffold.Answer.of(*options.list)
        single = scaffold.Answer.of(*options.object) if options.object else None
        failure = scaffold.ErrorAnswer.of(options.error) if options.error else None
        kind = scaffold.Scaffold(options.kind, listed, single, options.versions, failure)
        files = kind.write()
    except scaffold.ScaffoldError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot be written: {error.strerror}") from None
    print("\n".join(files))
    print("\nRead the module: what the answers do not show is marked FILL IN. This names what is missing:\n")
    print(f'  make test ARGS="tests/registries -k {options.kind}"')
    return 0


def _settings(path: Path | None) -> "Settings":
    from gateway.config.settings import SettingsError

    try:
        return _load(path)
    except SettingsError as error:
        raise CommandError(*error.problems, status=2) from None


def _load(path: Path | None) -> "Settings":
    from gateway.config.loading import load
    from gateway.registries import KINDS

    if path is None and not os.environ.get("GATEWAY_CONFIG") and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    return load(path, os.environ, {name: kind.settings for name, kind in KINDS.items()})


def _reloaded(path: Path | None, settings: "Settings") -> "Settings":
    """Return the settings of a worker that replaces another one: the current ones, or else those of the start."""
    import logging

    from gateway.config.settings import SettingsError
    from gateway.telemetry.logs import configure

    try:
        return _load(path)
    except SettingsError as error:
        configure(settings.telemetry)
        for problem in error.problems:
            logging.getLogger("gateway.server").error("The settings stay as they were: %s", problem)
        return settings


def _twin_settings(url: str, mode: str) -> "Settings":
    from gateway import twins
    from gateway.config.loading import load_server
    from gateway.config.origins import LOOPBACK
    from gateway.config.settings import (
        AccessSettings,
        Secret,
        ServerSettings,
        Settings,
        SettingsError,
        TelemetrySettings,
    )
    from gateway.registries.mlflow import MlflowSettings
    from gateway.registries.pai import PaiSettings
    from gateway.registries.qianfan import QianfanSettings

    try:
        origins = load_server(os.environ).cors or LOOPBACK
    except SettingsError as error:
        raise CommandError(*error.problems, status=2) from None
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
    mlflow = MlflowSettings(
        name="mlflow",
        kind="mlflow",
        endpoint=url,
        username=twins.MLFLOW_USERNAME,
        password=Secret(twins.MLFLOW_PASSWORD),
    )
    return Settings(
        server=ServerSettings(profile="development", cors=origins),
        access=AccessSettings(mode=mode),
        telemetry=TelemetrySettings(metrics="path"),
        registries=(pai, qianfan, mlflow),
    )


@asynccontextmanager
async def _running_twins(host: str, port: int, models: int) -> AsyncIterator[str]:
    from gateway.twins import Corpus, serving

    _listen(host, port).close()
    mlflow_models = models // 3
    async with serving(host, port, corpus=Corpus(models - mlflow_models, mlflow_models=mlflow_models)) as running:
        yield running.url


def _listen(host: str, port: int) -> "socket.socket":
    """Open a listening socket, before anything else starts, so that a port in use is reported at once."""
    import socket

    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, socket_type, protocol, _, address = addresses[0]
        # The explicit protocol (TCP) matters: servers turn off Nagle's algorithm only for sockets that name it.
        listener = socket.socket(family, socket_type, protocol)
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


REMEDY: Final = (
    'set access.mode = "callers" and access.keys or access.issuer to authenticate callers, '
    'or access.mode = "open" to serve anyone'
)


def _check_exposure(settings: "Settings", host: str, remedy: str = REMEDY) -> None:
    """Raise `SettingsError` for a host that other machines can reach, unless the settings say who may query."""
    from ipaddress import ip_address
    from socket import getaddrinfo

    from gateway.config.settings import SettingsError

    try:
        address = getaddrinfo(host, None)[0][4][0]
    except (OSError, UnicodeError):
        return
    if settings.access.mode == "loopback" and not ip_address(address).is_loopback:
        raise SettingsError((f"refusing to listen on {address}, which other machines can reach: {remedy}",))


def _url(settings: "Settings", host: str, port: int) -> str:
    scheme = "https" if settings.server.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _listen_locally(path: str) -> "socket.socket":
    """Open a listening Unix socket, for its owner and group. One that nobody listens on any more is replaced."""
    import socket
    import stat

    listener = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode) and not _accepts(path):
                os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o660)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CommandError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listener


def _accepts(path: str) -> bool:
    """Whether somebody accepts connections on a Unix socket."""
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


GC_THRESHOLD: Final = 20_000
"""New objects that trigger a garbage collection of the youngest generation. Some requests create thousands of objects
and hardly any cycles, so the default threshold would collect too often."""


async def _serve(
    initial: "Settings",
    load: "Callable[[], Settings]",
    listener: "socket.socket",
    announce: Callable[[str], None],
    remedy: str = REMEDY,
    workers: "WorkerMetrics | None" = None,
    all_stop: Callable[[], bool] = lambda: True,
) -> int:
    """Serve until stopped, with the ``initial`` settings. ``load`` loads them at each reload.

    ``remedy`` completes the error message for an address that other machines can reach, if authentication is not
    configured. ``workers`` adds up the metrics of several workers. ``all_stop`` returns whether all of them stop.
    """
    from gateway.app import CacheMemory, create_app
    from gateway.config.settings import SettingsError, gathering
    from gateway.config.tls import ServerTls
    from gateway.server.runner import ReloadableApp, Server
    from gateway.telemetry.logs import configure

    address = listener.getsockname()
    cache_memory = CacheMemory()

    def build() -> "ASGIApp":
        settings, problems = load() if app.current else initial, list[str]()
        with gathering(problems):
            if not isinstance(address, str):
                _check_exposure(settings, address[0], remedy)
        with gathering(problems):
            created = create_app(settings, cache_memory=cache_memory, workers=workers)
        if problems:
            raise SettingsError(tuple(problems))
        if tls is not None and settings.server.tls_certificate:
            tls.reload(settings.server)
        configure(settings.telemetry)
        return created

    try:
        configure(initial.telemetry)
        tls = ServerTls(initial.server) if initial.server.tls_certificate else None
        app = ReloadableApp(build)
        await app.reload()
        gc.freeze()  # the objects created so far live as long as the process; exclude them from collections
        gc.set_threshold(GC_THRESHOLD)
        url = _url(initial, *address[:2]) if not isinstance(address, str) else f"unix:{address}:"
        server = Server(app, lambda: announce(url), initial, tls, all_stop)
        async with _stop_signal():  # uvicorn stops at the signal and then raises it again, which these handlers absorb
            return await server.run_on(listener)
    except SettingsError as error:
        raise CommandError(*error.problems, status=2) from None


@asynccontextmanager
async def _stop_signal() -> "AsyncIterator[asyncio.Event]":
    """Make Ctrl-C and SIGTERM set the event instead of ending the process."""
    import asyncio
    import signal

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    yield stopped
