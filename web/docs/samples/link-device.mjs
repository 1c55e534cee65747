import { setTimeout as sleep } from "node:timers/promises";

const { API, KEY } = process.env;

async function call(method, path, body) {
  const headers = { "X-API-Key": KEY, "Content-Type": "application/json" };
  const response = await fetch(API + path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  return answer;
}

const { id } = await call("POST", "/devices", { name: "Try", sandbox: true });
await call("POST", `/devices/${id}/connect`);
await call("POST", `/devices/${id}/sandbox/scan`);
while ((await call("GET", `/devices/${id}`)).status !== "CONNECTED") await sleep(1000);
console.log("linked:", id);
