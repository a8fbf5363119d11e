"""Runs the application: behind a socket, with new settings on SIGHUP, to an orderly end on SIGTERM."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import Message, Receive, Scope, Send

from gateway.begun import Run
from gateway.config.settings import Settings, SettingsError
from gateway.http.heads import Plain
from gateway.http.prepared_requests import Application
from gateway.http.responses import Written
from gateway.http.websocket import LARGEST_MESSAGE
from gateway.server.connection_limits import Connection

logger = logging.getLogger("gateway.server")


class Generation:
    """One application with its settings, from its opening until its last request is answered.

    Source: the ASGI specification, lifespan protocol, version 2.0.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self.running = 0
        self.idle: asyncio.Event | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending = asyncio.Event()
        self._messages = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

    async def open(self) -> None:
        """Raises what keeps the application from starting."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._life: asyncio.Future[None] = asyncio.ensure_future(self.app(scope, self._receive, self._send))
        await asyncio.wait({self._life, self._opened}, return_when=asyncio.FIRST_COMPLETED)  # ends early if it fails
        if not self._opened.done():
            self._life.result()

    async def close(self) -> None:
        """When nothing of it runs any more."""
        if self.running:
            self.idle = asyncio.Event()
            await self.idle.wait()
        self._ending.set()
        await self._life

    def ended(self, _: object = None) -> None:
        """One of those that were running is answered."""
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


class Current:
    """The application in force: requests that have begun end with the one that they began with.

    ``build`` makes an application of the settings as they are now; it raises `SettingsError`.
    """

    def __init__(self, build: Callable[[], Application]) -> None:
        self.build = build
        self.stopping = False
        self.generation: Generation | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()

    async def reload(self) -> None:
        """Take the settings anew; the application stays as it is when they cannot be used."""
        async with self._reloading:
            before = self.generation
            try:
                following = Generation(self.build())
                await following.open()
            except SettingsError as error:
                if before is None:
                    raise
                for problem in error.problems:
                    logger.error("The settings stay as they were: %s", problem)
                return
            self.generation = following
            if before is not None:
                logger.info("The settings were read again.")
                before.state["stopping"].set()
                retiring = asyncio.create_task(before.close())
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)

    def stop(self) -> None:
        """Be no longer ready, and ask clients to go elsewhere."""
        assert self.generation is not None
        self.stopping = True
        self.generation.state["stopping"].set()

    async def close(self) -> None:
        assert self.generation is not None
        await asyncio.gather(self.generation.close(), *self._retiring)

    def short_way(self, plain: Plain, body: bytes) -> "Written | Run[Written] | None":
        """What goes the application's short way; nothing where answers ask the client to come back elsewhere."""
        generation = self.generation
        if generation is None or self.stopping:
            return None
        answer = generation.app.short_way(plain, body)
        if isinstance(answer, Run):
            generation.running += 1
            answer.when_done(generation.ended)
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        generation = self.generation
        assert generation is not None
        if self.stopping and scope["type"] == "http":
            send = leaving(send)
        scope["state"] = generation.state.copy()
        generation.running += 1
        try:
            await generation.app(scope, receive, send)
        finally:
            generation.ended()


def leaving(send: Send) -> Send:
    """Answers ask the client to come back on another connection."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return sent


class Server(uvicorn.Server):
    """uvicorn over one listening socket, with `Current` in it.

    At the first signal to stop, readiness is turned off and answers close their connections; after the settings'
    ``drain`` seconds nothing new is accepted, and what runs has ``grace`` seconds to end.
    """

    def __init__(self, current: Current, announce: Callable[[], None], settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                current,
                http=partial(Connection, settings.limits, current),  # type: ignore[arg-type]
                ws="websockets-sansio",
                ws_max_size=LARGEST_MESSAGE,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=round(settings.server.grace),
            )
        )
        self.current, self.announce, self.drain = current, announce, settings.server.drain

    async def run_on(self, listener: socket.socket) -> int:
        """Serve what is current until told to stop, with as many sockets as the system allows; the exit status."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await self.serve(sockets=[listener])
        await self.current.close()
        return 0 if self.started else 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.current.stop()
        await asyncio.sleep(0 if self.force_exit else self.drain)
        await super().shutdown(sockets)

    def _reload(self) -> None:
        self._reloaded = asyncio.ensure_future(self.current.reload())
