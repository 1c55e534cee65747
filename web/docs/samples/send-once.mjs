import { setTimeout as sleep } from "node:timers/promises";

const { API, KEY, DEVICE } = process.env;
const ATTEMPTS = 5;

// However often a request with the same key arrives, one message goes out.
async function sendOnce(key, message) {
  for (let attempt = 1; ; attempt++) {
    let wait = 2 ** attempt;
    try {
      const response = await fetch(`${API}/messages/send-text`, {
        method: "POST",
        headers: { "X-API-Key": KEY, "Content-Type": "application/json", "Idempotency-Key": key },
        body: JSON.stringify(message),
      });
      const answer = await response.json();
      if (response.ok) return answer;
      if (!answer.retryable) attempt = ATTEMPTS;
      wait = Number(response.headers.get("retry-after") ?? wait);
      throw new Error(`${answer.code}: ${answer.detail}`);
    } catch (error) {
      if (attempt >= ATTEMPTS) throw error;
    }
    await sleep(wait * 1000);
  }
}

const message = { deviceId: DEVICE, to: process.argv[2] ?? "628111222333", text: "Thank you!" };
console.log(await sendOnce("order-1042-paid", message));
