curl -sG $API/messages -H "X-API-Key: $KEY" --data-urlencode "deviceId=$DEVICE" \
  --data-urlencode "q=invoice oct*" --data-urlencode "limit=50"
