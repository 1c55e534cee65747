// The verification code of the product's documentation, run over what a receiver would hold.
const { createHmac, timingSafeEqual } = require("node:crypto");
const { secret, signature, body } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const reqBody = JSON.parse(Buffer.from(body, "base64").toString("utf8"));
const expected = createHmac("sha256", secret).update(JSON.stringify(reqBody)).digest("hex");
process.stdout.write(timingSafeEqual(Buffer.from(signature), Buffer.from(expected)) ? "verified" : "refused");
