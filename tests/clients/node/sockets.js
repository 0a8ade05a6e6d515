// The library ws over wss, and Node's own http2, through ringway: node sockets.js URL CA-FILE
// The last line on stdout says what was seen; an error ends it with status 1.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const http2 = require("node:http2");
const { once } = require("node:events");
const WebSocket = require("ws");

const [url, caFile] = process.argv.slice(2);
const ca = fs.readFileSync(caFile);

async function webSocket() {
  const socket = new WebSocket(url.replace("https", "wss") + "/socket", { ca });
  await once(socket, "open");
  // Of each length form of a frame, in text and in bytes.
  for (const message of ["", "short", "é".repeat(40000), Buffer.alloc(1 << 20, "b")]) {
    socket.send(message);
    const [echo, isBinary] = await once(socket, "message");
    assert.equal(isBinary, typeof message !== "string");
    assert.ok(echo.equals(Buffer.from(message)), "the echo is another");
  }
  socket.ping("are you?");
  const [pong] = await once(socket, "pong");
  assert.equal(pong.toString(), "are you?");
  socket.close(4000, "enough");
  const [code] = await once(socket, "close");
  assert.equal(code, 4000);
}

async function nodeHttp2() {
  const session = http2.connect(url, { ca });
  const get = async (path) => {
    const stream = session.request({ ":path": path });
    let length = 0;
    stream.on("data", (piece) => (length += piece.length));
    const [[head]] = await Promise.all([once(stream, "response"), once(stream, "end")]);
    assert.equal(head[":status"], 200);
    return length;
  };
  const lengths = await Promise.all([...Array(100).keys()].map((n) => get(`/bytes/${n * 1000}`)));
  lengths.forEach((length, n) => assert.equal(length, n * 1000));
  await new Promise((yes) => session.close(yes));
}

(async () => {
  await webSocket();
  await nodeHttp2();
  console.log("ws: text, bytes, ping and close over wss; http2: 100 streams at once");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
