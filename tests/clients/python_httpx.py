"""The Python library httpx, with HTTP/2."""

import asyncio
import json
import ssl

import httpx

from .demands import demand
from .setting import Setting

TIMEOUT_SECONDS = 30


def exchanges(setting: Setting) -> str:
    """100 at once over HTTP/2; a body in pieces both ways; cookies; HEAD, statuses."""
    return asyncio.run(_exchanges(setting))


async def _pieces():
    for n in range(100):
        yield b"%07d\n" % n * 1000


async def _exchanges(setting: Setting) -> str:
    context = ssl.create_default_context(cafile=setting.ca)
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(
        http2=True, verify=context, base_url=setting.url, timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:
        answers = await asyncio.gather(*[client.get(f"/bytes/{n * 100}") for n in range(100)])
        for n, answer in enumerate(answers):
            demand(answer.http_version == "HTTP/2" and answer.status_code == 200, answer)
            demand(len(answer.content) == n * 100, answer)
        back = b""
        async with client.stream("POST", "/echo", content=_pieces()) as answer:
            async for piece in answer.aiter_bytes():
                back += piece
        demand(back == b"".join([piece async for piece in _pieces()]), f"echo of {len(back)} bytes")
        head = await client.get("/head", cookies={"a": "1", "b": "2"})
        fields = {name.lower(): value for name, value in json.loads(head.content)["fields"]}
        demand(fields["cookie"] == "a=1; b=2", fields)
        demand(fields["x-forwarded-proto"] == "https", fields)
        demand((await client.head("/bytes/5")).headers["content-length"] == "5", "HEAD")
        demand((await client.get("/status/204")).status_code == 204, "204")
    return "100 at once over one connection, bodies in pieces, cookies, HEAD, 204"


CHECKS = {"httpx": exchanges}
