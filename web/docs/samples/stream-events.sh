curl -N $API/events -H "X-API-Key: $KEY"
