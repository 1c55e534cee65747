import { openAsBlob } from "node:fs";

const form = new FormData();
form.set("deviceId", process.env.DEVICE);
form.set("to", "628111222333");
form.set("kind", "document");
form.set("caption", "Your invoice");
form.set("file", await openAsBlob("invoice.pdf", { type: "application/pdf" }), "invoice.pdf");

const response = await fetch(`${process.env.API}/messages/send-media`, {
  method: "POST",
  headers: { "X-API-Key": process.env.KEY },
  body: form,
});
console.log(response.status, await response.json());
