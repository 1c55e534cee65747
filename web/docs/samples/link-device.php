<?php
function call(string $method, string $path, ?array $body = null): array
{
    $request = curl_init(getenv("API") . $path);
    curl_setopt_array($request, [
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY"), "Content-Type: application/json"],
    ]);
    if ($body !== null) curl_setopt($request, CURLOPT_POSTFIELDS, json_encode($body));
    $answer = json_decode(curl_exec($request), true);
    if (curl_getinfo($request, CURLINFO_RESPONSE_CODE) >= 400) {
        throw new Exception("$answer[code]: $answer[detail]");
    }
    return $answer;
}

$device = call("POST", "/devices", ["name" => "Try", "sandbox" => true])["id"];
call("POST", "/devices/$device/connect");
call("POST", "/devices/$device/sandbox/scan");
while (call("GET", "/devices/$device")["status"] !== "CONNECTED") sleep(1);
echo "linked: $device\n";
