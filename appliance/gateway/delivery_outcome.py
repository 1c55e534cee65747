"""What an attempt means for its delivery and its endpoint: functions of the answer, the time and chance."""

import random

from appliance.gateway import retry
from appliance.gateway.delivery_attempt import Answer
from appliance.model.webhook import Attempt, DeliveryStatus
from appliance.store.delivery_queue import Claimed, Recorded


def judge(
    delivery: Claimed,
    answer: Answer,
    at_ms: int,
    *,
    trying_since_ms: int,
    redirect_is_success: bool,
    jitter: random.Random,
) -> Recorded:
    """The state that follows an attempt begun at `at_ms`; `trying_since_ms` as in `retry.counted_from`."""
    done = Recorded(
        attempt=_attempt(delivery, answer, at_ms),
        endpoint_id=delivery.endpoint_id,
        status=DeliveryStatus.PENDING,
        step=delivery.step,
        due_at=delivery.due_at,
        failing_since=delivery.failing_since,
    )
    if answer.forbidden is not None:
        return _stopped(done, answer.forbidden)
    match retry.classify(answer.status, redirect_is_success=redirect_is_success):
        case retry.Outcome.DELIVERED:
            done.status, done.endpoint = DeliveryStatus.DELIVERED, "well"
        case retry.Outcome.STOP_ENDPOINT:
            return _stopped(done, "The receiver answered 410 Gone.")
        case retry.Outcome.RETRY:
            done.endpoint = "failing"
            _postpone(done, delivery, answer, at_ms, trying_since_ms, jitter)
    return done


def given_up(delivery: Claimed, error: str, at_ms: int) -> Recorded:
    """The state of a delivery that can never be made."""
    return Recorded(
        attempt=_attempt(delivery, Answer(error=error), at_ms),
        endpoint_id=delivery.endpoint_id,
        status=DeliveryStatus.DEAD,
        step=delivery.step,
        due_at=delivery.due_at,
        failing_since=delivery.failing_since,
    )


def _attempt(delivery: Claimed, answer: Answer, at_ms: int) -> Attempt:
    return Attempt(
        delivery_no=delivery.no,
        n=delivery.attempts + 1,
        at=at_ms,
        duration_ms=answer.duration_ms,
        status=answer.status,
        error=answer.error,
        answer=answer.body,
    )


def _stopped(done: Recorded, reason: str) -> Recorded:
    # The delivery stays pending: should its owner enable the endpoint again, it is due.
    done.endpoint, done.reason, done.due_at = "stopped", reason, done.attempt.at
    return done


def _postpone(
    done: Recorded,
    delivery: Claimed,
    answer: Answer,
    at_ms: int,
    trying_since_ms: int,
    jitter: random.Random,
) -> None:
    now_ms = at_ms + answer.duration_ms
    asked = retry.retry_after_s(answer.retry_after, now_ms / 1000) > 0
    if delivery.probe and not asked:
        # Only the endpoint was probed: the delivery's own schedule goes on as if nothing had happened.
        return
    since = retry.counted_from(
        delivery.failing_since, due_at_ms=delivery.due_at, trying_since_ms=trying_since_ms, at_ms=at_ms
    )
    due_at = retry.next_due(
        delivery.step + 1,
        counted_from_ms=since,
        now_ms=now_ms,
        jitter=jitter,
        retry_after=answer.retry_after,
    )
    done.failing_since = since
    if due_at is None:
        done.status = DeliveryStatus.DEAD
        return
    done.step, done.due_at, done.held = delivery.step + 1, due_at, asked
