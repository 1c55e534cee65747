<?php
$query = ["deviceId" => getenv("DEVICE"), "q" => "invoice oct*", "limit" => 50];
do {
    $request = curl_init(getenv("API") . "/messages?" . http_build_query($query));
    curl_setopt_array($request, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY")],
    ]);
    $answer = json_decode((string) curl_exec($request), true);
    if (!isset($answer["items"])) exit($answer["code"] ?? curl_error($request));
    foreach ($answer["items"] as $message) {
        echo $message["id"], " ", $message["remoteJid"], " ", $message["text"], "\n";
    }
    $query["cursor"] = $answer["nextCursor"];
} while ($query["cursor"] !== null);
