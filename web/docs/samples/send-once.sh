# curl waits as long as Retry-After says, and repeats what broke; the key makes that safe.
curl -s --retry 4 --retry-all-errors -o answer.json -w '%{http_code}\n' \
  $API/messages/send-text -H "X-API-Key: $KEY" -H "Content-Type: application/json" \
  -H "Idempotency-Key: order-1042-paid" \
  -d "{\"deviceId\": \"$DEVICE\", \"to\": \"628111222333\", \"text\": \"Thank you!\"}"
cat answer.json
