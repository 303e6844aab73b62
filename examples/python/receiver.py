"""A receiver in Python, with the standard library alone. Run it:

SWITCHHOOK_SECRET=whsec_… PORT=9000 python3 receiver.py
"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["SWITCHHOOK_SECRET"]
TOLERANCE = 5 * 60  # seconds
seen = set()  # keep these in your database instead


def verify(headers, body):
    """Says what is wrong with a request, or None. body is the raw body."""
    timestamp = headers.get("X-Webhook-Timestamp", "")
    if not timestamp.isdecimal():
        return "the request is not signed"
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return "the timestamp is too far from now"

    # X-Webhook-Signature: the key is the whole secret.
    signed = timestamp.encode() + b"." + body
    legacy = "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(legacy.encode(), headers.get("X-Webhook-Signature", "").encode()):
        return "X-Webhook-Signature does not match"

    # Standard Webhooks: the key is what base64 says after "whsec_".
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f'{headers.get("webhook-id")}.{headers.get("webhook-timestamp")}.'.encode() + body
    standard = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(standard.encode(), s.encode()) for s in given):
        return "webhook-signature does not match"
    return None


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wrong = verify(self.headers, body)
        if wrong:
            self.answer(401, wrong)
            return
        delivery = self.headers["X-Webhook-ID"]
        if delivery not in seen:
            seen.add(delivery)  # a retry has the same id: it is dropped
            event = json.loads(body)
            message = json.dumps(event["data"].get("message"))
            print(f'{event["event"]} {event["channel"]} {message} history={len(event["recentHistory"])}', flush=True)
        self.answer(200, "ok")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
