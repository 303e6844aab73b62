"""A receiver in Python that does what the query says: see test/endtoend/receivers_test.go."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

forever = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        play = json.loads(parse_qs(urlparse(self.path).query)["play"][0])
        if play.get("deaf"):
            forever.wait()
        if play.get("rude"):
            return self.die()
        self.send_response(play.get("status", 200))
        for name, value in play.get("header", {}).items():
            self.send_header(name, value)
        chunked = play.get("status", 200) not in (204, 304)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for what, value, *times in play.get("steps", []):
            if what == "send":
                piece = bytes.fromhex(value) * (times[0] if times else 1)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if what == "wait":
                time.sleep(value / 1000)
            if what == "die":
                return self.die()
            if what == "hang":
                forever.wait()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def die(self):
        self.close_connection = True
        self.connection.close()

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
