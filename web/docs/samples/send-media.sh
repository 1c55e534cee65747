curl -s $API/messages/send-media -H "X-API-Key: $KEY" -F deviceId=$DEVICE -F to=628111222333 \
  -F kind=document -F caption="Your invoice" -F file=@invoice.pdf
