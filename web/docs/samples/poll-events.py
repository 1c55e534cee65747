import json, os, urllib.request

API, KEY = os.environ["API"], os.environ["KEY"]
after = ""  # keep it where a restart finds it

while True:
    headers = {"X-API-Key": KEY, "Accept": "application/json"}
    request = urllib.request.Request(f"{API}/events?after={after}&wait=25", headers=headers)
    with urllib.request.urlopen(request) as page:
        answer = json.load(page)
    for event in answer["items"]:
        print(event["event"], event["data"].get("remoteJid"), event["data"].get("text"), flush=True)
    after = answer["nextCursor"]
