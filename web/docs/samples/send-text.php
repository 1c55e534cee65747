<?php
$request = curl_init(getenv("API") . "/messages/send-text");
curl_setopt_array($request, [
    CURLOPT_POST => true,
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY"), "Content-Type: application/json"],
    CURLOPT_POSTFIELDS => json_encode(["deviceId" => getenv("DEVICE"), "to" => "628111222333", "text" => "Halo!"]),
]);
echo curl_exec($request), "\n";
