"""A receiver in Flask that answers calls. Run it:

SWITCHHOOK_SECRET=whsec_… PORT=9000 python3 receiver.py

POST /stream answers a turn of a call line by line, POST /json with one object.
"""

import hashlib
import hmac
import json
import os
import time

from flask import Flask, Response, abort, g, jsonify, request, stream_with_context
from werkzeug.serving import make_server

SECRET = os.environ["SWITCHHOOK_SECRET"].encode()
TOLERANCE = 5 * 60  # seconds

app = Flask(__name__)


@app.before_request
def verify():
    """Lets only signed requests through, checked over the raw body."""
    body = request.get_data()
    timestamp = request.headers.get("X-Webhook-Timestamp", "")
    expected = "sha256=" + hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    given = request.headers.get("X-Webhook-Signature", "")
    fresh = timestamp.isdecimal() and abs(time.time() - int(timestamp)) <= TOLERANCE
    if not fresh or not hmac.compare_digest(expected.encode(), given.encode()):
        abort(401)
    g.event = json.loads(body)
    print(g.event["event"], g.event["channel"], flush=True)
    if (g.event["event"], g.event["channel"]) != ("agent.message", "voice"):
        return "ok"  # it is told, not asked: a 2xx is all it wants
    return None


def answer(event):
    time.sleep(0.05)  # whatever takes its time: a model, a database
    transcript = event["data"]["transcript"]
    if "bye" in transcript.lower():
        return {"text": "Goodbye!", "hangup": True}
    return {"text": "You said: " + transcript, "heardBefore": len(event["recentHistory"])}


@app.post("/json")
def one_object():
    return jsonify(answer(g.event))


@app.post("/stream")
def lines():
    def generate():
        # Something at once: silence on a line is long.
        yield json.dumps({"text": "Let me see.", "interim": True}) + "\n"
        yield json.dumps(answer(g.event)) + "\n"  # the first line without interim closes the turn

    return Response(stream_with_context(generate()), mimetype="application/x-ndjson")


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(os.environ.get("PORT", 9000)), app, threaded=True)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
