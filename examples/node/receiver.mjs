// A receiver in Node, without dependencies. Run it:
//   SWITCHHOOK_SECRET=whsec_… PORT=9000 node receiver.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import http from "node:http";

const secret = process.env.SWITCHHOOK_SECRET;
const tolerance = 5 * 60; // seconds
const seen = new Set(); // keep these in your database instead

const equal = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

// verify says what is wrong with a request, or null. body is the raw body.
function verify(headers, body) {
  const timestamp = headers["x-webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp)) return "the request is not signed";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > tolerance) return "the timestamp is too far from now";

  // X-Webhook-Signature: the key is the whole secret.
  const legacy = "sha256=" + createHmac("sha256", secret).update(`${timestamp}.`).update(body).digest("hex");
  if (!equal(legacy, headers["x-webhook-signature"] ?? "")) return "X-Webhook-Signature does not match";

  // Standard Webhooks: the key is what base64 says after "whsec_".
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`;
  const standard = "v1," + createHmac("sha256", key).update(signed).update(body).digest("base64");
  if (!(headers["webhook-signature"] ?? "").split(" ").some((s) => equal(standard, s))) return "webhook-signature does not match";
  return null;
}

const server = http.createServer((req, res) => {
  const chunks = [];
  req.on("data", (chunk) => chunks.push(chunk));
  req.on("end", () => {
    const body = Buffer.concat(chunks);
    const wrong = verify(req.headers, body);
    if (wrong) {
      res.writeHead(401).end(wrong);
      return;
    }
    const id = req.headers["x-webhook-id"];
    if (!seen.has(id)) {
      seen.add(id); // a retry has the same id: it is dropped
      const event = JSON.parse(body);
      console.log(`${event.event} ${event.channel} ${JSON.stringify(event.data.message)} history=${event.recentHistory.length}`);
    }
    res.end("ok");
  });
});

server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
