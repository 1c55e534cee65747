<?php
$request = curl_init(getenv("API") . "/messages/send-media");
curl_setopt_array($request, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY")],
    CURLOPT_POSTFIELDS => [
        "deviceId" => getenv("DEVICE"),
        "to" => "628111222333",
        "kind" => "document",
        "caption" => "Your invoice",
        "file" => new CURLFile("invoice.pdf", "application/pdf"),
    ],
]);
echo curl_exec($request), "\n";
