import json, os, time, urllib.request

API, KEY = os.environ["API"], os.environ["KEY"]


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(API + path, data, headers, method=method)) as answer:
        return json.load(answer)


device = call("POST", "/devices", {"name": "Try", "sandbox": True})["id"]
call("POST", f"/devices/{device}/connect")
call("POST", f"/devices/{device}/sandbox/scan")
while call("GET", f"/devices/{device}")["status"] != "CONNECTED":
    time.sleep(1)
print("linked:", device)
