// An agent without a model, in Node, without dependencies. It keeps nothing itself:
// what it remembers is the recentHistory of each delivery. Run it:
//   SWITCHHOOK_SECRET=whsec_… SWITCHHOOK_API_KEY=sk_… PORT=9000 node echo-agent.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import http from "node:http";

const { SWITCHHOOK_SECRET: secret, SWITCHHOOK_API_KEY: key, SWITCHHOOK_URL: url = "http://127.0.0.1:8080", PORT: port = "9000" } = process.env;

function verified(headers, body) {
  const timestamp = headers["x-webhook-timestamp"] ?? "";
  const expected = "sha256=" + createHmac("sha256", secret).update(`${timestamp}.`).update(body).digest("hex");
  const given = headers["x-webhook-signature"] ?? "";
  return given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected))
    && Math.abs(Date.now() / 1000 - Number(timestamp)) < 300;
}

// reply says what the person said now, and what they said before.
function reply(event) {
  const said = event.data.message ?? event.data.transcript ?? "";
  const before = event.recentHistory.filter((m) => m.direction === "inbound").map((m) => m.content);
  return before.length === 0 ? `You said: ${said}` : `You said: ${said}. Before that: ${before.join(", ")}`;
}

// send hands the reply in as a text of the agent's: the next delivery has it in its history.
async function send(event, text) {
  await fetch(`${url}/v1/events`, {
    method: "POST",
    // Delivered again after a fault, the same event is answered once.
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "Idempotency-Key": `reply-${event.data.messageId}` },
    body: JSON.stringify({
      event: "agent.message", channel: event.channel, agentId: event.agentId,
      data: { from: event.data.to, to: event.data.from, message: text, direction: "outbound" },
    }),
  });
}

const server = http.createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!verified(req.headers, body)) {
    res.writeHead(401).end("bad signature");
    return;
  }
  const event = JSON.parse(body);
  if (event.event !== "agent.message") {
    res.end("{}");
    return;
  }
  const text = reply(event);
  if (event.channel !== "voice" && key) await send(event, text);
  // On a call this is what the caller hears.
  res.setHeader("Content-Type", "application/json");
  res.end(JSON.stringify({ text }));
});

server.listen(Number(port), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
