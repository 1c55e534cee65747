import json, os, urllib.request

request = urllib.request.Request(
    os.environ["API"] + "/messages/send-text",
    json.dumps({"deviceId": os.environ["DEVICE"], "to": "628111222333", "text": "Halo!"}).encode(),
    {"X-API-Key": os.environ["KEY"], "Content-Type": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    print(answer.status, json.load(answer))
