package dashboard

import "strings"

// codeView is a receiver's code in one language, with the secret filled in.
type codeView struct{ Language, Code string }

// verificationCode is what a receiver needs to verify deliveries. Each snippet is
// whole: it listens on port 9000 and answers 401 to what does not verify. A test
// runs all three.
func verificationCode(secret string) []codeView {
	fill := strings.NewReplacer("{{secret}}", secret)
	return []codeView{
		{"Node", fill.Replace(nodeCode)}, {"Python", fill.Replace(pythonCode)}, {"Go", fill.Replace(goCode)},
	}
}

const nodeCode = `import { createServer } from "node:http";
import { createHmac, timingSafeEqual } from "node:crypto";

const secret = "{{secret}}"; // better: from the environment

createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const body = Buffer.concat(chunks); // raw, before any decoding
  const timestamp = req.headers["x-webhook-timestamp"] ?? "";
  const given = Buffer.from(req.headers["x-webhook-signature"] ?? "");
  const expected = Buffer.from("sha256=" +
    createHmac("sha256", secret).update(timestamp + ".").update(body).digest("hex"));
  const ok = given.length === expected.length && timingSafeEqual(given, expected) &&
    Math.abs(Date.now() / 1000 - Number(timestamp)) < 300;
  if (ok) console.log(JSON.parse(body).data);
  res.writeHead(ok ? 200 : 401).end();
}).listen(process.env.PORT ?? 9000);
`

const pythonCode = `import hashlib, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "{{secret}}"  # better: from the environment

class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))  # raw, before any decoding
        timestamp = self.headers.get("X-Webhook-Timestamp", "")
        expected = "sha256=" + hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        ok = hmac.compare_digest(expected, self.headers.get("X-Webhook-Signature", "")) and \
            abs(time.time() - int(timestamp)) < 300
        if ok:
            print(json.loads(body)["data"], flush=True)
        self.send_response(200 if ok else 401)
        self.end_headers()

ThreadingHTTPServer(("", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
`

const goCode = `package main

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

const secret = "{{secret}}" // better: from the environment

func main() {
	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // raw, before any decoding
		timestamp := r.Header.Get("X-Webhook-Timestamp")
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(timestamp + "."))
		mac.Write(body)
		expected := "sha256=" + hex.EncodeToString(mac.Sum(nil))
		at, _ := strconv.ParseInt(timestamp, 10, 64)
		if err != nil || !hmac.Equal([]byte(expected), []byte(r.Header.Get("X-Webhook-Signature"))) ||
			time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute {
			http.Error(w, "not verified", http.StatusUnauthorized)
			return
		}
		log.Printf("%s", body)
	})
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "9000"), nil))
}
`
