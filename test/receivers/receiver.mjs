// A receiver in Node that does what the query says: see test/endtoend/receivers_test.go.
import http from "node:http";

const server = http.createServer((req, res) => {
  req.resume();
  req.on("end", async () => {
    const play = JSON.parse(new URL(req.url, "http://x").searchParams.get("play"));
    if (play.deaf) return; // never answers
    if (play.rude) return req.socket.destroy();
    res.writeHead(play.status ?? 200, play.header ?? {});
    res.flushHeaders();
    for (const [what, value, times = 1] of play.steps ?? []) {
      if (what === "send") await new Promise((resolve) => res.write(Buffer.from(value.repeat(times), "hex"), resolve));
      if (what === "wait") await new Promise((resolve) => setTimeout(resolve, value));
      if (what === "die") return req.socket.destroy();
      if (what === "hang") return;
    }
    res.end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
