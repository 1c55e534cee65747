const { API, KEY } = process.env;
let after = ""; // keep it where a restart finds it

for (;;) {
  const headers = { "X-API-Key": KEY, Accept: "application/json" };
  const response = await fetch(`${API}/events?after=${after}&wait=25`, { headers });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  for (const { event, data } of answer.items) console.log(event, data.remoteJid ?? "", data.text ?? "");
  after = answer.nextCursor;
}
