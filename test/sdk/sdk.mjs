// Drives a running Switchhook through the vendor's SDK, unchanged but for its
// base URL, and verifies a delivery with a public Standard Webhooks library.
// Exits 1 with the first thing that is not as it should be.
import assert from "node:assert/strict";
import http from "node:http";
import { AgentPhoneClient, AgentPhone } from "agentphone";
import { Webhook } from "standardwebhooks";

const client = new AgentPhoneClient({ baseUrl: process.env.SWITCHHOOK_URL, token: process.env.SWITCHHOOK_API_KEY, maxRetries: 0 });

const received = [];
const receiver = http.createServer((req, res) => {
  const chunks = [];
  req.on("data", (c) => chunks.push(c));
  req.on("end", () => {
    received.push({ path: req.url, headers: req.headers, body: Buffer.concat(chunks).toString() });
    res.end(req.url === "/voice" ? JSON.stringify({ text: "On its way.", mood: "good" }) : "ok");
  });
});
await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${receiver.address().port}`;

const agent = await client.agents.createAgent({ name: "Ava", description: "from the SDK", voiceMode: "webhook", systemPrompt: "Be kind." });
assert.match(agent.id, /^agt_/);
assert.equal(agent.name, "Ava");
assert.equal(agent.voiceMode, "webhook");
assert.equal((await client.agents.getAgent({ agent_id: agent.id })).systemPrompt, "Be kind.");
assert.equal((await client.agents.updateAgent({ agent_id: agent.id, name: "Ava 2" })).name, "Ava 2");
const agents = await client.agents.listAgents();
assert.equal(agents.total, 1);
assert.equal(agents.data[0].id, agent.id);

// Both kinds of webhook: none, set, read, set again, test, list, delete.
const kinds = [
  {
    path: "/default",
    get: () => client.webhooks.getWebhook(),
    set: (body) => client.webhooks.createOrUpdateWebhook({ body }),
    test: () => client.webhooks.testWebhook({ agentId: agent.id }),
    remove: () => client.webhooks.deleteWebhook(),
  },
  {
    path: "/own",
    get: () => client.agentWebhooks.getAgentWebhook({ agent_id: agent.id }),
    set: (body) => client.agentWebhooks.createOrUpdateAgentWebhook({ agent_id: agent.id, body }),
    test: () => client.agentWebhooks.testAgentWebhook({ agent_id: agent.id }),
    remove: () => client.agentWebhooks.deleteAgentWebhook({ agent_id: agent.id }),
  },
];
for (const kind of kinds) {
  assert.equal(await kind.get(), null);
  const first = await kind.set({ url: base + kind.path });
  assert.match(first.id, /^wh_/);
  assert.match(first.secret, /^whsec_/);
  assert.deepEqual([first.status, first.contextLimit, first.timeout], ["active", 10, 30]);
  const second = await kind.set({ url: base + kind.path, contextLimit: 3, timeout: 5 });
  assert.equal(second.id, first.id);
  assert.equal(second.createdAt, first.createdAt);
  assert.notEqual(second.secret, first.secret);
  assert.deepEqual(await kind.get(), second);

  const result = await kind.test();
  assert.equal(result.success, true);
  assert.equal(result.httpStatus, 200);
  assert.equal(result.errorMessage, null);
  const got = received.at(-1);
  assert.equal(got.path, kind.path);
  assert.equal(got.headers["x-webhook-event"], "agent.message");
  const payload = new Webhook(second.secret).verify(got.body, got.headers);
  assert.equal(payload.agentId, agent.id);
  new Webhook(first.secret).verify(got.body, got.headers); // the one before holds for a day
  assert.throws(() => new Webhook("whsec_" + Buffer.alloc(32, 7).toString("base64")).verify(got.body, got.headers));
}

const deliveries = await client.webhooks.listDeliveries({ limit: 10, offset: 0, hours: 24 });
assert.equal(deliveries.total, 2);
assert.equal(deliveries.items.length, 2);
assert.deepEqual([deliveries.offset, deliveries.limit], [0, 10]);
assert.equal(deliveries.items[0].status, "success");
assert.equal(deliveries.items[0].attemptCount, 1);
assert.equal(deliveries.items[0].nextRetryAt, null);
const own = await client.agentWebhooks.listAgentDeliveries({ agent_id: agent.id, limit: 10 });
assert.equal(own.length, 1);
const stats = await client.webhooks.deliveryStats({ hours: 24 });
assert.deepEqual([stats.total, stats.success, stats.failed, stats.pending], [2, 2, 0, 0]);
assert.equal(stats.byEventType["agent.message"].success, 2);
assert.equal(stats.byHour.length, 24);
const allTime = await client.webhooks.allTimeStats();
assert.deepEqual([allTime.total, allTime.success, allTime.failed], [2, 2, 0]);

for (const kind of kinds) {
  assert.equal((await kind.remove()).success, true);
  assert.equal(await kind.get(), null);
  await assert.rejects(kind.remove(), (e) => e.statusCode === 404 && /webhook/.test(e.body.detail));
}

// Bad calls raise the SDK's own error, with every fault in it.
await assert.rejects(
  client.webhooks.createOrUpdateWebhook({ body: { url: "not a url", contextLimit: 51, timeout: 1 } }),
  (e) => {
    assert.ok(e instanceof AgentPhone.UnprocessableEntityError, `${e.constructor.name}: ${e.message}`);
    const locs = e.body.detail.map((d) => d.loc.join("."));
    assert.deepEqual([...locs].sort(), ["body.contextLimit", "body.timeout", "body.url"]);
    assert.ok(e.body.detail.every((d) => d.msg && d.type));
    return true;
  },
);
await assert.rejects(client.agents.createAgent({}), AgentPhone.UnprocessableEntityError);
await assert.rejects(client.webhooks.listDeliveries({ limit: 1000 }), AgentPhone.UnprocessableEntityError);
await assert.rejects(client.agents.getAgent({ agent_id: "agt_unknown" }), (e) => e.statusCode === 404);

// A call: a turn is asked and answered, its end is told, and the SDK reads it.
const post = async (path, body) => {
  const res = await fetch(process.env.SWITCHHOOK_URL + path, {
    method: "POST", headers: { authorization: `Bearer ${process.env.SWITCHHOOK_API_KEY}` }, body: JSON.stringify(body),
  });
  assert.ok(res.ok, `${path}: ${res.status}`);
  return res.json();
};
const number = await post("/v1/numbers", { phoneNumber: "+12025550177", agentId: agent.id });
await client.webhooks.createOrUpdateWebhook({ body: { url: base + "/voice" } });
const parties = { callId: "CA-sdk-1", from: "+12025550199", to: "+12025550177" };
const reply = await post("/v1/events", { event: "agent.message", channel: "voice", data: { ...parties, transcript: "Where is it?", confidence: 0.5 } });
assert.deepEqual(reply, { text: "On its way.", mood: "good", chunks: 1 });
const live = await client.calls.getCall({ call_id: "CA-sdk-1" });
assert.equal(live.status, "in-progress");
assert.equal(live.endedAt, null);
assert.deepEqual(live.transcripts.map((t) => [t.transcript, t.response, t.confidence]), [["Where is it?", "On its way.", 0.5]]);
await post("/v1/events", {
  event: "agent.call_ended", channel: "voice",
  data: { ...parties, status: "completed", startedAt: "2026-01-02T03:04:05Z", endedAt: "2026-01-02T03:05:05Z", transcript: [{ role: "user", content: "Where is it?" }, { role: "agent", content: "On its way." }] },
});
const call = await client.calls.getCall({ call_id: "CA-sdk-1" });
assert.deepEqual([call.status, call.durationSeconds, call.startedAt, call.endedAt, call.direction], ["completed", 60, "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z", "inbound"]);
const { callId, transcript } = await client.calls.getCallTranscript({ call_id: "CA-sdk-1" });
assert.equal(callId, "CA-sdk-1");
assert.deepEqual(transcript.map((l) => `${l.role}: ${l.content}`), ["user: Where is it?", "agent: On its way."]);
for (const calls of [
  await client.calls.listCalls(),
  await client.calls.listCalls({ status: "completed", direction: "inbound", type: "pstn", search: "5550199" }),
  await client.calls.listCallsForNumber({ number_id: number.id, limit: 5 }),
  await client.agents.listAgentCalls({ agent_id: agent.id }),
]) {
  assert.equal(calls.total, 1);
  assert.equal(calls.hasMore, false);
  const [c] = calls.data;
  assert.deepEqual(
    [c.id, c.agentId, c.phoneNumberId, c.phoneNumber, c.fromNumber, c.toNumber, c.status, c.lastTranscriptSnippet],
    ["CA-sdk-1", agent.id, number.id, "+12025550177", "+12025550199", "+12025550177", "completed", "On its way."],
  );
}
assert.equal((await client.calls.listCalls({ type: "web" })).total, 0);
await assert.rejects(client.calls.getCall({ call_id: "CA-none" }), (e) => e.statusCode === 404);

const deleted = await client.agents.deleteAgent({ agent_id: agent.id });
assert.equal(deleted.success, true);
receiver.close();
console.log("the SDK is content");
