import http.client, json, os, sys, time, urllib.request

API, KEY = os.environ["API"], os.environ["KEY"]
last_id = ""

while True:
    try:
        headers = {"X-API-Key": KEY, "Accept": "text/event-stream", "Last-Event-ID": last_id}
        request = urllib.request.Request(API + "/events", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as stream:
            fields = {}
            for line in stream:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                    continue
                if "event" in fields:
                    print(fields["event"], json.loads(fields["data"]).get("text", ""), flush=True)
                last_id = fields.get("id", last_id)  # keep it where a restart finds it
                fields = {}
    except (OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
    time.sleep(3)
