<?php
$after = ""; // keep it where a restart finds it
while (true) {
    $request = curl_init(getenv("API") . "/events?after=$after&wait=25");
    curl_setopt_array($request, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY"), "Accept: application/json"],
    ]);
    $answer = json_decode((string) curl_exec($request), true);
    if (!isset($answer["items"])) exit($answer["code"] ?? curl_error($request));
    foreach ($answer["items"] as ["event" => $event, "data" => $data]) {
        echo $event, " ", $data["remoteJid"] ?? "", " ", $data["text"] ?? "", "\n";
    }
    $after = $answer["nextCursor"];
}
