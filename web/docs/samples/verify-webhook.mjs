import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);

  const given = Buffer.from(request.headers["x-webhook-signature"] ?? "");
  const expected = Buffer.from(createHmac("sha256", process.env.WEBHOOK_SECRET).update(body).digest("hex"));
  const genuine = given.length === expected.length && timingSafeEqual(given, expected);
  response.writeHead(genuine ? 200 : 401).end();
  if (!genuine) return;

  const { event, data } = JSON.parse(body);
  console.log(event, data.remoteJid, data.text);
}).listen(process.env.PORT ?? 3000);
