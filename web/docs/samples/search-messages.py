import json, os, urllib.parse, urllib.request

API, KEY, DEVICE = os.environ["API"], os.environ["KEY"], os.environ["DEVICE"]
query = {"deviceId": DEVICE, "q": "invoice oct*", "limit": "50"}

while True:
    url = f"{API}/messages?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-API-Key": KEY})) as page:
        answer = json.load(page)
    for message in answer["items"]:
        print(message["id"], message["remoteJid"], message["text"])
    if answer["nextCursor"] is None:
        break
    query["cursor"] = answer["nextCursor"]
