const { API, KEY } = process.env;
let lastId = "";

for (;;) {
  try {
    const headers = { "X-API-Key": KEY, Accept: "text/event-stream", "Last-Event-ID": lastId };
    const response = await fetch(`${API}/events`, { headers });
    if (response.status === 401) throw new Error("this key is not valid");
    let pending = "";
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (pending + text).split("\n\n");
      pending = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
        if (fields.event) console.log(fields.event, JSON.parse(fields.data).text ?? "");
        if (fields.id) lastId = fields.id; // keep it where a restart finds it
      }
    }
  } catch (error) {
    console.error(error.message);
  }
  await new Promise((resolve) => setTimeout(resolve, 3000));
}
