"""Metrics of several worker processes as one.

Each worker writes its samples into memory that all of them share, when another one asks for them over a socket, and
when it ends. Whichever worker is scraped adds them up. prometheus_client's own multiprocess mode is not used: it needs
a folder for files, takes a lock for every sample, and has no gauges that are computed when they are read.
"""

import asyncio
import logging
import mmap
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from zlib import crc32

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

logger = logging.getLogger("gateway.http")

ANSWER_SECONDS: Final = 0.5
"""Seconds to wait for the samples of other workers. One that is busy for longer is counted with its last ones."""
POLL_SECONDS: Final = 0.005
ATTEMPTS: Final = 20
"""How often the samples are read while those of a worker that ended are moving."""
SLOT_BYTES: Final = 1 << 23
"""Memory for the samples of one worker. The system provides only what is used."""
HEADER: Final = struct.Struct("<QII")
"""The number of the last write, the length of the content and its checksum."""

SUMMED: Final = ("counter", "histogram")
"""The types of which a worker that ended still counts."""
LARGEST: Final = {
    "gateway_info",
    "gateway_circuit_state",
    "gateway_credentials_renewal_failed",
    "process_start_time_seconds",
    "process_max_fds",
}
"""Gauges of which the largest value counts. All others are added up."""

Samples = dict[tuple[str, str, str], dict[tuple[str, tuple[tuple[str, str], ...]], float]]
"""Values by the name, type and description of a metric, and then by the name and labels of a sample."""


def samples_of(collector: Collector) -> Samples:
    return {
        (metric.name, metric.type, metric.documentation): {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in metric.samples
        }
        for metric in collector.collect()
    }


def added(parts: Iterable[Samples]) -> Samples:
    """Return the samples of several workers as one."""
    total: Samples = {}
    for part in parts:
        for metric, values in part.items():
            known = total.setdefault(metric, {})
            for sample, value in values.items():
                before = known.get(sample, 0.0)
                known[sample] = max(before, value) if metric[0] in LARGEST else before + value
    return total


def lasting(samples: Samples) -> Samples:
    return {metric: values for metric, values in samples.items() if metric[1] in SUMMED}


class Slot:
    """Shared memory for the samples of one worker, which one process writes at a time."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOT_BYTES)
        self._read: Samples = {}

    @property
    def writes(self) -> int:
        """The number of the last write; 0 if there are no samples."""
        number: int = HEADER.unpack_from(self._memory)[0]
        return number

    @writes.setter
    def writes(self, number: int) -> None:
        _, *content = HEADER.unpack_from(self._memory)
        HEADER.pack_into(self._memory, 0, number, *content)

    def write(self, samples: Samples) -> None:
        content = orjson.dumps([[*metric, [*values.items()]] for metric, values in samples.items()])
        if HEADER.size + len(content) > SLOT_BYTES:
            logger.error("The metrics of this worker are too many to be shared with others.")
            return
        self._memory[HEADER.size : HEADER.size + len(content)] = content
        HEADER.pack_into(self._memory, 0, self.writes + 1, len(content), crc32(content))

    def clear(self) -> None:
        HEADER.pack_into(self._memory, 0, 0, 0, 0)

    def read(self) -> Samples:
        """Return the samples; those that were read before while a worker is writing."""
        number, length, checksum = HEADER.unpack_from(self._memory)
        content = self._memory[HEADER.size : HEADER.size + length]
        if not number or not length:
            self._read = {}
        elif crc32(content) == checksum:
            self._read = {
                (name, kind, text): {(sample, tuple(map(tuple, labels))): value for (sample, labels), value in values}
                for name, kind, text, values in orjson.loads(content)
            }
        return self._read


class _Added(Collector):
    """The samples of all workers, as the encoders of the library read them."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def collect(self) -> Iterator[Metric]:
        for (name, kind, text), values in self.samples.items():
            metric = Metric(name, text, kind)
            for (sample, labels), value in values.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


class WorkerMetrics:
    """What the workers of one gateway share. The supervisor makes it before it starts them."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot() for _ in range(count)]
        self._ended = Slot()
        self._sockets = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        for asking, asked in self._sockets:
            asking.setblocking(False)
            asked.setblocking(False)
        self._number = 0
        self._collectors: list[Collector] = []
        self._before: Samples = {}

    def begin(self, number: int) -> None:
        """Run in worker ``number``."""
        self._number = number

    def end(self, number: int) -> None:
        """Keep the counts of a worker that ended. The supervisor calls it before it starts another one."""
        kept = added([self._ended.read(), lasting(self._slots[number].read())])
        self._ended.writes += 1  # odd: the samples are moving from one slot to the other
        self._slots[number].clear()
        self._ended.write(kept)

    @contextmanager
    def publishing(self, collector: Collector) -> Iterator[None]:
        """Publish the samples of a collector. The counts of one that ended continue in this worker."""
        loop, asked = asyncio.get_running_loop(), self._sockets[self._number][1]
        self._collectors.append(collector)
        self._publish()
        loop.add_reader(asked, self._answer)
        try:
            yield
        finally:
            self._before = added([self._before, lasting(samples_of(collector))])
            self._collectors.remove(collector)
            self._publish()
            if not self._collectors:
                loop.remove_reader(asked)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics of all workers as text, and the media type, for a scraper's ``Accept`` header."""
        await self._ask()
        for _ in range(ATTEMPTS):
            moved = self._ended.writes
            samples = added(slot.read() for slot in (self._ended, *self._slots))
            if moved % 2 == 0 and self._ended.writes == moved:
                break
            await asyncio.sleep(POLL_SECONDS)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Added(samples))
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type

    async def _ask(self) -> None:
        """Have all workers write their samples, and wait until they have."""
        self._publish()
        waiting = {number: slot.writes for number, slot in enumerate(self._slots) if number != self._number}
        waiting = {number: writes for number, writes in waiting.items() if writes}
        for number in waiting:
            with suppress(OSError):  # questions wait there already
                self._sockets[number][0].send(b"?")
        loop = asyncio.get_running_loop()
        ends = loop.time() + ANSWER_SECONDS
        while loop.time() < ends:
            if all(self._slots[number].writes != writes for number, writes in waiting.items()):
                break
            await asyncio.sleep(POLL_SECONDS)

    def _answer(self) -> None:
        with suppress(OSError):
            while self._sockets[self._number][1].recv(1):
                pass
        self._publish()

    def _publish(self) -> None:
        published = [samples_of(collector) for collector in self._collectors]
        counts = [self._before, *map(lasting, published[:-1]), *published[-1:]]
        self._slots[self._number].write(added(counts))
