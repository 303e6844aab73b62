"""An agent without a model, with Python's standard library alone. It keeps nothing
itself: what it remembers is the recentHistory of each delivery. Run it:

SWITCHHOOK_SECRET=whsec_… SWITCHHOOK_API_KEY=sk_… PORT=9000 python3 echo_agent.py
"""

import hashlib
import hmac
import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["SWITCHHOOK_SECRET"]
KEY = os.environ.get("SWITCHHOOK_API_KEY")
URL = os.environ.get("SWITCHHOOK_URL", "http://127.0.0.1:8080")


def verified(headers, body):
    timestamp = headers.get("X-Webhook-Timestamp", "")
    expected = "sha256=" + hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return (
        hmac.compare_digest(expected.encode(), headers.get("X-Webhook-Signature", "").encode())
        and timestamp.isdecimal()
        and abs(time.time() - int(timestamp)) < 300
    )


def reply(event):
    """Says what the person said now, and what they said before."""
    said = event["data"].get("message") or event["data"].get("transcript") or ""
    before = [m["content"] for m in event["recentHistory"] if m["direction"] == "inbound"]
    return f"You said: {said}. Before that: {', '.join(before)}" if before else f"You said: {said}"


def send(event, text):
    """Hands the reply in as a text of the agent's: the next delivery has it in its history."""
    data = event["data"]
    body = {
        "event": "agent.message", "channel": event["channel"], "agentId": event["agentId"],
        "data": {"from": data["to"], "to": data["from"], "message": text, "direction": "outbound"},
    }
    # Delivered again after a fault, the same event is answered once.
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", "Idempotency-Key": f"reply-{data['messageId']}"}
    urllib.request.urlopen(urllib.request.Request(f"{URL}/v1/events", json.dumps(body).encode(), headers)).close()


class Agent(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not verified(self.headers, body):
            self.answer(401, {"error": "bad signature"})
            return
        event = json.loads(body)
        if event["event"] != "agent.message":
            self.answer(200, {})
            return
        text = reply(event)
        if event["channel"] != "voice" and KEY:
            send(event, text)
        self.answer(200, {"text": text})  # on a call this is what the caller hears

    def answer(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Agent)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
