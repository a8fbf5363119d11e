"""Wires the rooms into one application; the only module that meets them all."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypedDict

from starlette.applications import Starlette
from starlette.routing import Route

from gateway.catalog.operation import Bounds
from gateway.catalog.plan import Bound
from gateway.catalog.registry import Registry, Sender
from gateway.errors import RegistryError
from gateway.registries import KINDS
from gateway.settings import Settings
from gateway.upstream.transport import Transport
from gateway.web import health
from gateway.web.graphql import graphql


class State(TypedDict):
    """What the application hands to every request."""

    registries: Mapping[str, Registry]
    bounds: Bounds


def registries(settings: Settings, sender: Sender) -> Mapping[str, Registry]:
    """The configured registries by name, in their order."""
    return {one.name: Registry(KINDS[one.kind].of(one), one, sender) for one in settings.registries}


def create_app(settings: Settings) -> Starlette:
    """The gateway as an ASGI application; its upstream session lives as long as the application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with Transport() as transport:
            bounds = Bounds(settings.catalog.scan_rows, settings.catalog.scan_detail_rows)
            yield {"registries": registries(settings, transport), "bounds": bounds}

    return Starlette(
        routes=[
            Route("/graphql", graphql, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/schema.graphql", health.schema),
        ],
        lifespan=lifespan,
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """The outcome of one cheap call to a registry; ``problem`` is None when it answered."""

    registry: str
    seconds: float
    problem: str | None


async def probe(settings: Settings) -> list[Probe]:
    """Ask every configured registry one cheap call."""
    probes = []
    async with Transport() as transport:
        for registry in registries(settings, transport).values():
            started = perf_counter()
            try:
                await registry.ask(Bound(registry.name, registry.kind.probe))
                problem = None
            except RegistryError as error:
                code = f" ({error.vendor_code})" if error.vendor_code else ""
                problem = f"{error}{code}"
            probes.append(Probe(registry.name, perf_counter() - started, problem))
    return probes
