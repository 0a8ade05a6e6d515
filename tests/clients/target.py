"""A target that speaks HTTP/1.1 and tells what reached it. It runs in a thread of its own.

    /              "hello"
    /bytes/N       N bytes
    /status/N      status N without a body
    /head          the request as JSON: line, fields, trailers, length of the body
    /echo          the body of the request
    /trailers      a chunked body, and the trailer x-sum
    /unending      two bytes, without a length: the connection ends it
    /early         an interim response 103, then "hello"
    /hold          answers "held" after `release`, and reads no body before
    /websocket     switches protocols and echoes what it reads
    POST /report   keeps the body

and whatever pages it is given.
"""

import asyncio
import base64
import hashlib
import json
import queue
import threading

LIMIT = 1024 * 1024
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Target:
    """Listens on a port that the kernel chooses."""

    def __init__(self, pages: dict[str, tuple[str, bytes]] | None = None) -> None:
        self.port = 0
        # Media type and bytes by path.
        self.pages = pages or {}
        self.reports: queue.Queue[bytes] = queue.Queue()
        # Paths of heads, and of whole requests, in the order in which they came.
        self.begun: list[str] = []
        self.whole: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def listen() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LIMIT)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def hold(self) -> None:
        """From now on requests for /hold wait."""
        self._loop.call_soon_threadsafe(self._released.clear)

    def release(self) -> None:
        """Answers those that wait, and those that come."""
        self._loop.call_soon_threadsafe(self._released.set)

    def under_way(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
        fields = [tuple(field.split(": ", 1)) for field in rest]
        method, path, _ = line.split(" ", 2)
        self.begun.append(path)
        if path.startswith("/hold"):
            await self._released.wait()
        if path.startswith("/websocket"):
            await self._websocket(fields, reader, writer)
            return False
        body, trailers = await self._body(fields, reader)
        self.whole.append(path)
        plain, _, _ = path.partition("?")
        if plain in self.pages:
            media, page = self.pages[plain]
            self._answer(writer, method, page, media)
            await writer.drain()
            return True
        match plain.split("/")[1:]:
            case ["bytes", length]:
                self._answer(writer, method, b"x" * int(length))
            case ["status", status]:
                writer.write(f"HTTP/1.1 {status} X\r\n".encode())
                writer.write(b"\r\n" if status in ("204", "304") else b"Content-Length: 0\r\n\r\n")
            case ["head"]:
                told = dict(line=line, fields=fields, trailers=trailers, length=len(body))
                self._answer(writer, method, json.dumps(told).encode())
            case ["echo"]:
                self._answer(writer, method, body)
            case ["hold"]:
                self._answer(writer, method, b"held")
            case ["report"]:
                self.reports.put(body)
                self._answer(writer, method, b"")
            case ["trailers"]:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n"
                             b"\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n")
            case ["unending"]:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nhi")
                await writer.drain()
                return False
            case ["early"]:
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                self._answer(writer, method, b"hello")
            case _:
                self._answer(writer, method, b"hello")
        await writer.drain()
        return True

    @staticmethod
    def _answer(writer, method: str, body: bytes, media: str = "text/plain") -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
                     % (media.encode(), len(body)))
        if method != "HEAD":
            writer.write(body)

    @staticmethod
    async def _body(fields, reader: asyncio.StreamReader) -> tuple[bytes, list]:
        names = {name.lower(): value for name, value in fields}
        if "chunked" in names.get("transfer-encoding", ""):
            body = bytearray()
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            trailers = []
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                trailers.append(tuple(line.decode("latin-1").strip().split(": ", 1)))
            return bytes(body), trailers
        return await reader.readexactly(int(names.get("content-length", 0))), []

    @staticmethod
    async def _websocket(fields, reader, writer) -> None:
        names = {name.lower(): value for name, value in fields}
        key = names.get("sec-websocket-key", "").encode()
        accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
