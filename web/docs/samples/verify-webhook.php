<?php
$body = file_get_contents("php://input");
$expected = hash_hmac("sha256", $body, getenv("WEBHOOK_SECRET"));
if (!hash_equals($expected, $_SERVER["HTTP_X_WEBHOOK_SIGNATURE"] ?? "")) {
    http_response_code(401);
    exit;
}
$event = json_decode($body, true);
error_log($event["event"] . " " . ($event["data"]["remoteJid"] ?? "") . " " . ($event["data"]["text"] ?? ""));
http_response_code(200);
