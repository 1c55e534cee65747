import base64, json, os, pathlib, urllib.request

message = {
    "deviceId": os.environ["DEVICE"],
    "to": "628111222333",
    "kind": "document",
    "caption": "Your invoice",
    "filename": "invoice.pdf",
    "base64": base64.b64encode(pathlib.Path("invoice.pdf").read_bytes()).decode(),
}
request = urllib.request.Request(
    os.environ["API"] + "/messages/send-media",
    json.dumps(message).encode(),
    {"X-API-Key": os.environ["KEY"], "Content-Type": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    print(answer.status, json.load(answer))
