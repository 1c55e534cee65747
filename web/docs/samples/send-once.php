<?php
const ATTEMPTS = 5;

// However often a request with the same key arrives, one message goes out.
function send_once(string $key, array $message): array
{
    for ($attempt = 1; ; $attempt++) {
        $wait = 2 ** $attempt;
        $request = curl_init(getenv("API") . "/messages/send-text");
        curl_setopt_array($request, [
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_HTTPHEADER => ["X-API-Key: " . getenv("KEY"), "Content-Type: application/json", "Idempotency-Key: $key"],
            CURLOPT_POSTFIELDS => json_encode($message),
            CURLOPT_HEADERFUNCTION => function ($request, string $line) use (&$wait): int {
                if (sscanf(strtolower($line), "retry-after: %d", $seconds) === 1) $wait = $seconds;
                return strlen($line);
            },
        ]);
        $answer = json_decode((string) curl_exec($request), true);
        $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
        if ($status >= 200 && $status < 300) return $answer;
        if ($attempt === ATTEMPTS || ($status > 0 && !$answer["retryable"])) {
            exit(($answer["code"] ?? curl_error($request)) . "\n");
        }
        sleep($wait);
    }
}

$message = ["deviceId" => getenv("DEVICE"), "to" => $argv[1] ?? "628111222333", "text" => "Thank you!"];
print_r(send_once("order-1042-paid", $message));
