// A receiver in Express that answers calls. Run it:
//   npm ci && SWITCHHOOK_SECRET=whsec_… PORT=9000 node receiver.mjs
//
// POST /stream answers a turn of a call line by line, POST /json with one object.
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";

const secret = process.env.SWITCHHOOK_SECRET;
const tolerance = 5 * 60; // seconds

// verified lets only signed requests through, checked over the raw body.
function verified(req, res, next) {
  const timestamp = req.get("X-Webhook-Timestamp") ?? "";
  const given = req.get("X-Webhook-Signature") ?? "";
  const expected = "sha256=" + createHmac("sha256", secret).update(`${timestamp}.`).update(req.body).digest("hex");
  const equal = given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected));
  if (!equal || !(Math.abs(Date.now() / 1000 - Number(timestamp)) <= tolerance)) {
    return res.status(401).send("the signature does not match");
  }
  req.event = JSON.parse(req.body);
  next();
}

// think stands for whatever takes its time: a model, a database.
const think = () => new Promise((resolve) => setTimeout(resolve, 50));

async function answer(event) {
  await think();
  const { transcript } = event.data;
  if (/bye/i.test(transcript)) return { text: "Goodbye!", hangup: true };
  return { text: `You said: ${transcript}`, heardBefore: event.recentHistory.length };
}

const isTurn = (event) => event.event === "agent.message" && event.channel === "voice";

const app = express();
app.use(express.raw({ type: () => true, limit: "2mb" }), verified);

// What is no turn is told, not asked: a 2xx is all it wants.
app.use((req, res, next) => {
  console.log(`${req.event.event} ${req.event.channel}`);
  if (isTurn(req.event)) return next();
  res.send("ok");
});

app.post("/json", async (req, res) => {
  res.json(await answer(req.event));
});

app.post("/stream", async (req, res) => {
  res.type("application/x-ndjson");
  const line = (object) => res.write(JSON.stringify(object) + "\n");
  // Something at once: silence on a line is long.
  line({ text: "Let me see.", interim: true });
  line(await answer(req.event)); // the first line without interim closes the turn
  res.end();
});

const server = app.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
