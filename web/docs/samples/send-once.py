import http.client, json, os, sys, time, urllib.error, urllib.request

API, KEY, DEVICE = os.environ["API"], os.environ["KEY"], os.environ["DEVICE"]
ATTEMPTS = 5


def send_once(key, message):
    """However often a request with the same key arrives, one message goes out."""
    headers = {"X-API-Key": KEY, "Content-Type": "application/json", "Idempotency-Key": key}
    body = json.dumps(message).encode()
    for attempt in range(1, ATTEMPTS + 1):
        wait = 2**attempt
        try:
            request = urllib.request.Request(API + "/messages/send-text", body, headers)
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if not problem["retryable"] or attempt == ATTEMPTS:
                raise SystemExit(f"{problem['code']}: {problem['detail']}") from None
            wait = int(error.headers.get("Retry-After", wait))
        except (OSError, http.client.HTTPException):
            if attempt == ATTEMPTS:
                raise
        time.sleep(wait)


to = sys.argv[1] if len(sys.argv) > 1 else "628111222333"
print(send_once("order-1042-paid", {"deviceId": DEVICE, "to": to, "text": "Thank you!"}))
