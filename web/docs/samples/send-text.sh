curl -s $API/messages/send-text -H "X-API-Key: $KEY" -H "Content-Type: application/json" \
  -d "{\"deviceId\": \"$DEVICE\", \"to\": \"628111222333\", \"text\": \"Halo!\"}"
