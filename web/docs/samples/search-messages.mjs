const { API, KEY, DEVICE } = process.env;
let cursor = "";

do {
  const query = new URLSearchParams({ deviceId: DEVICE, q: "invoice oct*", limit: "50", ...(cursor && { cursor }) });
  const response = await fetch(`${API}/messages?${query}`, { headers: { "X-API-Key": KEY } });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  for (const message of answer.items) console.log(message.id, message.remoteJid, message.text);
  cursor = answer.nextCursor;
} while (cursor);
