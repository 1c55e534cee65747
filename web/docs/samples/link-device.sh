DEVICE=$(curl -s $API/devices -H "X-API-Key: $KEY" -H "Content-Type: application/json" \
  -d '{"name": "Try", "sandbox": true}' | grep -o '"id":"[^"]*"' | cut -d'"' -f4)
curl -s -X POST $API/devices/$DEVICE/connect -H "X-API-Key: $KEY"
curl -s -X POST $API/devices/$DEVICE/sandbox/scan -H "X-API-Key: $KEY"
until curl -s $API/devices/$DEVICE -H "X-API-Key: $KEY" | grep '"status":"CONNECTED"'; do sleep 1; done
export DEVICE
