"""Runs the application with uvicorn: reloads the settings on SIGHUP and stops gracefully on SIGTERM."""

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.config.settings import LimitsSettings, Settings, SettingsError
from gateway.config.tls import ServerTls
from gateway.http.websocket import MAX_MESSAGE_BYTES
from gateway.server.connection_limits import LimitedHttpProtocol
from gateway.server.syn_filter import ignore_new_connections
from gateway.server.websocket_limits import LimitedWebSocketProtocol

logger = logging.getLogger("gateway.server")

T = TypeVar("T")


class RunningApp:
    """One application with its settings, from its start-up until its last request has its response.

    Source: the ASGI specification, lifespan protocol, version 2.0.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self.running = 0
        self.idle: asyncio.Event | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending = asyncio.Event()
        self._messages = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

    async def open(self) -> None:
        """Start the application. Raises what keeps it from starting."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._life: asyncio.Future[None] = asyncio.ensure_future(self.app(scope, self._receive, self._send))
        await asyncio.wait(
            {self._life, self._opened}, return_when=asyncio.FIRST_COMPLETED
        )  # the lifespan ends first if it fails
        if not self._opened.done():
            self._life.result()

    async def close(self) -> None:
        """Shut the application down once all its requests have their responses."""
        if self.running:
            self.idle = asyncio.Event()
            await self.idle.wait()
        self._ending.set()
        await self._life

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request."""
        scope["state"] = self.state.copy()
        self.running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.running -= 1
            if self.idle is not None and not self.running:
                self.idle.set()

    async def _receive(self) -> Message:
        if self._opened.done():
            await self._ending.wait()
        return next(self._messages)

    async def _send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._opened.set_result(None)


class ReloadableApp:
    """The current application. A reload replaces it; requests under way end in the application that they began in.

    ``build`` makes an application from the current settings. It raises `SettingsError`.
    """

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        self.build = build
        self.stopping = False
        self.current: RunningApp | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()

    async def reload(self) -> None:
        """Read the settings again. If they are invalid, the current application stays.

        Raises `SettingsError` if there is none.
        """
        async with self._reloading:
            before = self.current
            try:
                following = RunningApp(self.build())
                await following.open()
            except SettingsError as error:
                if before is None:
                    raise
                for problem in error.problems:
                    logger.error("The settings stay as they were: %s", problem)
                return
            except Exception:
                if before is None:
                    raise
                logger.exception("The settings stay as they were: the new ones cannot be used.")
                return
            self.current = following
            if before is not None:
                logger.info("The settings were reloaded.")
                before.state["stopping"].set()
                retiring = asyncio.create_task(before.close())
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)

    def stop(self) -> None:
        """Report that the gateway is not ready, and have responses close their connections."""
        assert self.current is not None
        logger.info("The gateway is stopping.")
        self.stopping = True
        self.current.state["stopping"].set()

    async def close(self) -> None:
        """Shut down the current application and those before it."""
        assert self.current is not None
        await asyncio.gather(self.current.close(), *self._retiring)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = self.current
        assert current is not None
        if self.stopping and scope["type"] == "http":
            send = closing(send)
        await current.serve(scope, receive, send)


def closing(send: Send) -> Send:
    """Send responses that close their connections."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return send_and_close


def eager_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
) -> asyncio.Task[T]:
    """Make a task that starts at once. Needs Python 3.12.

    Unlike `asyncio.eager_task_factory` before Python 3.13.3, it accepts the ``eager_start`` that uvloop passes.
    """
    return asyncio.Task(coroutine, loop=loop, **{**options, "eager_start": True})


def protocols(limits: LimitsSettings) -> dict[str, Any]:
    """The options of uvicorn for HTTP and WebSockets."""
    return {
        "http": partial(LimitedHttpProtocol, limits),
        "ws": LimitedWebSocketProtocol,
        "ws_max_size": MAX_MESSAGE_BYTES,
    }


class Server(uvicorn.Server):
    """uvicorn over one listening socket.

    The first signal to stop turns readiness off and has responses close their connections. After ``server.drain``
    seconds no connection is accepted, and requests under way have ``server.grace`` seconds to end. ``all_stop`` returns
    whether all processes that accept from the socket stop, not this one alone.
    """

    def __init__(
        self,
        app: ReloadableApp,
        announce: Callable[[], None],
        settings: Settings,
        tls: ServerTls | None = None,
        all_stop: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                **protocols(settings.limits),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=round(settings.server.grace),
                timeout_keep_alive=settings.server.keep_alive,
                forwarded_allow_ips=[*settings.server.trusted_proxies] or None,
            )
        )
        self.tls = tls.context if tls else None
        self.app, self.announce, self.all_stop = app, announce, all_stop
        self.limits, self.drain = settings.limits, settings.server.drain

    async def run_on(self, listener: socket.socket) -> int:
        """Serve until a signal to stop, with as many open files as the system allows. Returns the exit status."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 12):
            loop.set_task_factory(eager_task)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        await self.serve(sockets=[listener])
        await self.app.close()
        return 0 if self.started else 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.ssl = self.tls  # uvicorn would make a context of its own, whose certificate it never reads again
        await super().startup(sockets)
        if self.started:
            self.announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.app.stop()
        await asyncio.sleep(0 if self.force_exit else self.drain)
        for connection in self._stop_listening(sockets or []):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection, ssl=self.tls)
        await super().shutdown(sockets)

    def _stop_listening(self, listeners: list[socket.socket]) -> list[socket.socket]:
        """Close the listening sockets. Return the connections that the system has established but nobody has accepted:
        it would reset them."""
        if self.all_stop():
            for listener in listeners:
                ignore_new_connections(listener)
        waiting = []
        last = [listener.dup() for listener in listeners]  # closed right after its last connection is accepted
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        for listener in last:
            listener.setblocking(False)
            with listener, suppress(OSError):  # at the latest BlockingIOError
                while True:
                    waiting.append(listener.accept()[0])
        return waiting

    def _protocol(self) -> asyncio.Protocol:
        state = self.lifespan.state
        return LimitedHttpProtocol(self.limits, config=self.config, server_state=self.server_state, app_state=state)

    def _reload(self) -> None:
        self._reloaded = asyncio.ensure_future(self.app.reload())
