"""A way to an object store that can be told to fail: between its clients and the server, whose answers are real."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

BLOCK = 65536
QUIET_S = 0.05
"""A request has come in whole when nothing more of it comes for so long."""


class FaultyWay:
    """Relays connections to a server. Faults act on what clients send from then on, also over connections that are open.

    status: answer every request with this HTTP status instead of the server; 0: relay it.
    delay_s: wait so long before a piece of a request goes on.
    refused: requests that were answered with a fault so far. delayed: pieces that waited so far.
    """

    def __init__(self, address: str, server: tuple[str, int]) -> None:
        self.status, self.delay_s = 0, 0.0
        self.refused = self.delayed = 0
        self._address, self._server = address, server
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def relaying(self) -> Iterator[str]:
        """Relay, on a thread of its own; the address for clients."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        listening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._relay, self._address, 0), loop
        ).result()
        try:
            yield f"http://{self._address}:{listening.sockets[0].getsockname()[1]}"
        finally:
            asyncio.run_coroutine_threadsafe(self._close(listening), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    @contextlib.contextmanager
    def failing(self, status: int = 0, delay_s: float = 0.0) -> Iterator[None]:
        """Faults for a while."""
        self.status, self.delay_s = status, delay_s
        try:
            yield
        finally:
            self.status, self.delay_s = 0, 0.0

    async def _close(self, listening: asyncio.Server) -> None:
        listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            answers, requests = await asyncio.open_connection(*self._server)
            with contextlib.closing(requests):
                back = asyncio.create_task(self._back(answers, writer))
                try:
                    await self._forth(reader, requests, writer)
                finally:
                    back.cancel()

    async def _forth(
        self,
        reader: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Requests to the server, until the client ends or a fault ends the connection."""
        while piece := await reader.read(BLOCK):
            if self.delay_s:
                self.delayed += 1
                await asyncio.sleep(self.delay_s)
            if self.status:
                self.refused += 1
                with contextlib.suppress(TimeoutError):  # a client that still sends would not hear
                    while await asyncio.wait_for(reader.read(BLOCK), QUIET_S):
                        pass
                head = f"HTTP/1.1 {self.status} Fault\r\nContent-Length: 0\r\nConnection: close"
                writer.write(f"{head}\r\n\r\n".encode())
                await writer.drain()
                return
            requests.write(piece)
            await requests.drain()

    async def _back(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers to the client; the connection ends where the server ends it."""
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while piece := await answers.read(BLOCK):
                writer.write(piece)
                await writer.drain()
