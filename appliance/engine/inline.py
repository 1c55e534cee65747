"""The worker on threads of the main process, for a board with one real device and little memory.

The price: one lock around every call into Go, a call past its deadline ends the whole process (the service
manager starts it again), and a crash of the library is a crash of everything.
"""

import asyncio
import logging
import os
import socket
import threading

from appliance.engine.launcher import Worker
from appliance.engine.worker.main import run_inline

log = logging.getLogger(__name__)

EXIT_CODE = 70
"""EX_SOFTWARE: the unit restarts on any exit code but 0."""

_one_call_at_a_time = threading.Lock()


class InlineWorker:
    """A worker that shares our process: it can be asked to end, but not made to."""

    def __init__(self, sock: socket.socket) -> None:
        self.pid = os.getpid()
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(sock,), name="worker", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """End the process: nothing else cancels a call that hangs in Go. Harmless when the worker has
        ended."""
        if self._thread.is_alive():
            log.critical("inline_worker_hangs", extra={"exit_code": EXIT_CODE})
            logging.shutdown()
            os._exit(EXIT_CODE)

    async def dead(self) -> None:
        await self._ended.wait()

    def _run(self, sock: socket.socket) -> None:
        try:
            run_inline(sock, _one_call_at_a_time)
        except Exception:
            log.exception("inline_worker_failed")
        finally:
            sock.close()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._ended.set)


class InlineLauncher:
    """Starts workers on threads."""

    async def launch(self, worker_socket: socket.socket) -> Worker:
        return InlineWorker(worker_socket.dup())

    async def close(self) -> None:
        return None
