// Reads base64 lines of JSON text, prints base64 of what a receiver behind express.json() would sign.
const lines = require("node:readline").createInterface({ input: process.stdin });
const out = [];
lines.on("line", (line) => {
  const text = Buffer.from(line, "base64").toString("utf8");
  let answer;
  try {
    answer = Buffer.from(JSON.stringify(JSON.parse(text)), "utf8").toString("base64");
  } catch (error) {
    answer = "!" + error.name;
  }
  out.push(answer);
  if (out.length === 1000) process.stdout.write(out.splice(0).join("\n") + "\n");
});
lines.on("close", () => out.length && process.stdout.write(out.join("\n") + "\n"));
