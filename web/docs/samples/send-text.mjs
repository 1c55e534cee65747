const response = await fetch(`${process.env.API}/messages/send-text`, {
  method: "POST",
  headers: { "X-API-Key": process.env.KEY, "Content-Type": "application/json" },
  body: JSON.stringify({ deviceId: process.env.DEVICE, to: "628111222333", text: "Halo!" }),
});
console.log(response.status, await response.json());
