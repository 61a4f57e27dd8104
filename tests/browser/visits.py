"""A visitor without a browser: asks for a page, opens its websocket, pulls the document and waits for the figures."""

import asyncio
import json
import re

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

PAGE = "comp-sum"
READY = {"type": "event", "name": "document_ready", "values": {"type": "map", "entries": []}}
BUSY = """import time
print('begun', flush=True)
end = time.time() + seconds
while time.time() < end:
    sum(i * i for i in range(10**5))"""


async def visit(server, page: str = PAGE, *, wait: float = 0):
    """A visitor of a page, who connects after ``wait`` seconds: the open websocket, after the figures came."""
    address = server.url.removeprefix("http://")
    html = (await AsyncHTTPClient().fetch(f"http://{address}{page}", request_timeout=600)).body.decode()
    token = re.search(r'"token":"([^"]+)"', html).group(1)
    await asyncio.sleep(wait)
    origin = {"Origin": f"http://{address.split('/')[0]}"}
    request = HTTPRequest(f"ws://{address}{page}/ws", headers=origin, connect_timeout=600, request_timeout=600)
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    event = {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": READY}]}
    for _ in range(3):  # the server greets first
        await socket.read_message()
    await say(socket, "PULL-DOC-REQ", {})
    await hear(socket, '"doc"')
    await say(socket, "PATCH-DOC", event)
    await hear(socket, '"layout"')
    return socket


async def say(socket, kind, content):
    for part in ({"msgid": kind, "msgtype": kind}, {}, content):
        await socket.write_message(json.dumps(part))


async def hear(socket, words):
    while words not in ((message := await asyncio.wait_for(socket.read_message(), 600)) or ""):
        if message is None:
            raise ConnectionError("the server hung up")
