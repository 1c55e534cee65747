curl -s "$API/events?wait=25" -H "X-API-Key: $KEY" -H "Accept: application/json"
