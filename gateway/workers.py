"""Worker processes over one listening socket: started, kept at their number, told to reload, and ended in order."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD})
TOO_SOON: Final = 2.0
"""Seconds: a worker that ends sooner after its start would end again."""


class Workers:
    """Runs the same work in several forked processes; nothing but the socket is shared.

    ``work`` takes the number of its worker, from 0, and whether that one ended before; it returns the exit status.
    """

    def __init__(self, count: int, work: Callable[[int, bool], int]) -> None:
        self.count, self.work = count, work
        self._started: dict[int, tuple[int, float]] = {}

    def run(self) -> int:
        """Until a signal ends all workers, or one cannot start: its exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in range(self.count):
            self._start(number, again=False)
        status, stopping = 0, False
        while self._started:
            received = signal.sigwait(SIGNALS)
            if received == signal.SIGCHLD:
                for number, died_soon, how in self._ended():
                    if stopping:
                        continue
                    if died_soon:
                        status, stopping = how or 1, True
                        self._tell(signal.SIGTERM)
                    else:
                        self._start(number, again=True)
            elif received == signal.SIGHUP:
                self._tell(signal.SIGHUP)
            else:
                stopping = True
                self._tell(signal.SIGTERM)
        return status

    def _start(self, number: int, again: bool) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._work(number, again)
        self._started[pid] = number, time.monotonic()

    def _work(self, number: int, again: bool) -> NoReturn:
        """The forked process ends here, whatever happens."""
        status = 1
        try:
            status = self.work(number, again)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _tell(self, what: signal.Signals) -> None:
        for pid in self._started:
            os.kill(pid, what)

    def _ended(self) -> list[tuple[int, bool, int]]:
        """The workers that ended: their numbers, whether soon after their start, and their exit status."""
        ended = []
        for pid, (number, started) in list(self._started.items()):
            found, how = os.waitpid(pid, os.WNOHANG)
            if found:
                del self._started[pid]
                ended.append((number, time.monotonic() - started < TOO_SOON, os.waitstatus_to_exitcode(how)))
        return ended
