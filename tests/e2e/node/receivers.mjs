// Two receivers as integrators write them. Each request's outcome is printed as one line of JSON.
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";
import { Webhook } from "standardwebhooks";

const WEBHOOK_SECRET = process.env.WEBHOOK_SECRET;
const app = express();
const tell = (outcome) => console.log(JSON.stringify(outcome));

// The receiver of the published documentation, word for word but for the lines that tell.
app.post("/wa/webhook", express.json(), (req, res) => {
  const sig = req.headers["x-webhook-signature"];
  const body = JSON.stringify(req.body);
  const expected = createHmac("sha256", WEBHOOK_SECRET).update(body).digest("hex");

  if (!timingSafeEqual(Buffer.from(sig), Buffer.from(expected))) {
    tell({ route: "seed", verified: false, body });
    return res.status(401).end();
  }

  const { event, data } = req.body;
  tell({ route: "seed", verified: true, event, eventId: data.eventId, truncated: data.truncated ?? false });
  res.status(200).end();
});

app.post("/standard", express.text({ type: "application/json" }), (req, res) => {
  try {
    const { event, data } = new Webhook(WEBHOOK_SECRET).verify(req.body, req.headers);
    tell({ route: "standard", verified: true, event, eventId: data.eventId, bytes: Buffer.byteLength(req.body) });
    res.status(204).end();
  } catch (error) {
    tell({ route: "standard", verified: false, error: String(error) });
    res.status(401).end();
  }
});

app.use((error, req, res, next) => {
  tell({ route: req.path, verified: false, error: String(error) });
  res.status(error.status ?? 500).end();
});

const server = app.listen(0, "127.0.0.1", () => tell({ port: server.address().port }));
