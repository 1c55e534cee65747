<?php
$lastId = $pending = "";
while (true) {
    $request = curl_init(getenv("API") . "/events");
    curl_setopt_array($request, [
        CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY"), "Accept: text/event-stream", "Last-Event-ID: $lastId"],
        CURLOPT_LOW_SPEED_LIMIT => 1,
        CURLOPT_LOW_SPEED_TIME => 60,
        CURLOPT_WRITEFUNCTION => function ($request, string $text) use (&$lastId, &$pending): int {
            $blocks = explode("\n\n", $pending . $text);
            $pending = array_pop($blocks);
            foreach ($blocks as $block) {
                $fields = [];
                foreach (explode("\n", $block) as $line) {
                    [$name, $value] = explode(": ", $line, 2) + [1 => ""];
                    $fields[$name] = $value;
                }
                if (isset($fields["event"])) {
                    echo $fields["event"], " ", json_decode($fields["data"], true)["text"] ?? "", "\n";
                }
                $lastId = $fields["id"] ?? $lastId; // keep it where a restart finds it
            }
            return strlen($text);
        },
    ]);
    curl_exec($request);
    $pending = "";
    sleep(3);
}
