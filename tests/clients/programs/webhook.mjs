// A receiver of webhooks: npm standardwebhooks verifies `v1`, Node's own crypto the asymmetric `v1a`, as docs/webhooks.md
// shows it. It says its port, then what verified of each request, and ends with its standard input.
import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const say = (what) => console.log(JSON.stringify(what));
const { SECRET, PUBLIC } = process.env;

function verifyAsymmetric(publicKey, headers, body) {
  const raw = Buffer.from(publicKey.slice("whpk_".length), "base64");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  return headers["webhook-signature"].split(" ").some((entry) => {
    const [version, signature] = entry.split(",");
    return version === "v1a" && verify(null, signed, key, Buffer.from(signature, "base64"));
  });
}

function verified(headers, body) {
  try {
    new Webhook(SECRET).verify(body.toString(), headers);
    return true;
  } catch {
    return false;
  }
}

createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    const changed = Buffer.concat([body, Buffer.from(" ")]);
    say({
      event: JSON.parse(body),
      v1: [verified(request.headers, body), verified(request.headers, changed)],
      v1a: [verifyAsymmetric(PUBLIC, request.headers, body), verifyAsymmetric(PUBLIC, request.headers, changed)],
    });
    response.writeHead(204).end();
  });
}).listen(0, "127.0.0.1", function () {
  say({ port: this.address().port });
});

process.stdin.resume().on("end", () => process.exit(0));
