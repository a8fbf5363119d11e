"""Worker processes over one listening socket: started, kept at their number, told to reload, and ended in order."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD})


class Workers:
    """Runs the same work in several forked processes; nothing but the socket is shared.

    ``work`` takes the number of its worker, from 0, and whether that one ended before; it returns the exit status.
    """

    def __init__(self, count: int, work: Callable[[int, bool], int]) -> None:
        self.count, self.work = count, work
        self._numbers: dict[int, int] = {}

    def run(self) -> int:
        """Until a signal ends all workers, or one of them ends by itself: its exit status.

        One that was killed is replaced; one that gave up has said why, and the next would do the same.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in range(self.count):
            self._start(number, again=False)
        status, stopping = 0, False
        while self._numbers:
            received = signal.sigwait(SIGNALS)
            if received == signal.SIGCHLD:
                for number, code in self._ended():
                    if stopping:
                        continue
                    if code < 0:
                        self._start(number, again=True)
                    else:
                        status, stopping = code or 1, True
                        self._tell(signal.SIGTERM)
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
        self._numbers[pid] = number

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
        for pid in self._numbers:
            os.kill(pid, what)

    def _ended(self) -> list[tuple[int, int]]:
        """The workers that ended: their numbers, and their exit codes, negative for those that a signal killed."""
        ended = []
        for pid in list(self._numbers):
            found, how = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append((self._numbers.pop(pid), os.waitstatus_to_exitcode(how)))
        return ended
