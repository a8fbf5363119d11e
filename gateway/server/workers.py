"""Supervisor of worker processes that share one listening socket: start, restart, reload and shutdown."""

import mmap
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD})


class SharedFlag:
    """A flag that a process shares with those that it forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._memory[0] = 1

    def is_set(self) -> bool:
        return self._memory[0] == 1


class Workers:
    """Forks worker processes and supervises them.

    ``run_worker`` runs in each worker. It takes the number of the worker, counted from 0, and whether the worker
    replaces another one. It returns the exit status. ``ended`` takes the number of each worker that ended.

    ``listener`` is the socket that the workers share. Once they stop, only they have it open, so that the system
    refuses connections when the last of them accepts no more. ``stopping`` is set when all of them are to stop.
    """

    def __init__(
        self,
        count: int,
        run_worker: Callable[[int, bool], int],
        ended: Callable[[int], None],
        listener: socket.socket,
        stopping: SharedFlag,
    ) -> None:
        self.count, self.run_worker, self.ended = count, run_worker, ended
        self.listener, self.stopping = listener, stopping
        self._numbers: dict[int, int] = {}  # by process id

    def run(self) -> int:
        """Run until a signal stops all workers, or one worker fails; return the exit status.

        A worker that a signal killed or stopped is replaced. A worker that fails stops all others: it has reported
        why, and a replacement would fail for the same reason.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in range(self.count):
            self._start(number, replaced=False)
        status, stopping = 0, False
        while self._numbers:
            received = signal.sigwait(SIGNALS)
            if received == signal.SIGCHLD:
                for number, code in self._reap():
                    self.ended(number)
                    if stopping:
                        continue
                    if code <= 0:
                        self._start(number, replaced=True)
                    else:
                        status, stopping = code, True
                        self._stop()
            elif received == signal.SIGHUP:
                self._signal(signal.SIGHUP)
            else:
                stopping = True
                self._stop()
        return status

    def _stop(self) -> None:
        self.stopping.set()
        self.listener.close()
        self._signal(signal.SIGTERM)

    def _start(self, number: int, replaced: bool) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS - {signal.SIGHUP})  # the server can handle it later
            self._run_and_exit(number, replaced)
        self._numbers[pid] = number

    def _run_and_exit(self, number: int, replaced: bool) -> NoReturn:
        """Run the worker in the forked process, which always exits here."""
        status = 1
        try:
            status = self.run_worker(number, replaced)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all workers."""
        for pid in self._numbers:
            os.kill(pid, number)

    def _reap(self) -> list[tuple[int, int]]:
        """Return the number and exit code of each worker that ended; the code is negative if a signal killed it."""
        ended = []
        for pid in list(self._numbers):
            found, wait_status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append((self._numbers.pop(pid), os.waitstatus_to_exitcode(wait_status)))
        return ended
