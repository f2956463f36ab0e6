"""Accounts for every answer: a metric at its beginning; at its end a metric and a log line with the same cause."""

from __future__ import annotations

from gateway.answers.answers import Observer
from gateway.answers.production import Answer
from gateway.observability import logs, metrics
from gateway.observability.in_flight import InFlight
from gateway.observability.recent import Recent


class Accounting(Observer):
    """
    in_flight   what the master reads if this worker is killed; None where there is no master
    recent      the last day's answers and the last failures, for /admin
    """

    in_flight: InFlight | None = None

    def __init__(self) -> None:
        self.recent = Recent()

    def started(self, answer: Answer) -> None:
        answer.pace = metrics.Pace()
        metrics.started()
        if self.in_flight is not None:
            self.in_flight.add(answer.id, _begin_fields(answer))

    def ended(self, answer: Answer) -> None:
        first = answer.first_delta_at
        metrics.ended(
            answer.cause,
            answer.provider,
            answer.usage,
            first - answer.request.received_at if first is not None else None,
            answer.pace if isinstance(answer.pace, metrics.Pace) else metrics.Pace(),
        )
        if self.in_flight is not None:
            self.in_flight.remove(answer.id)
        fields = {
            "id": answer.id,
            **_begin_fields(answer),
            "statements": answer.request.record.statements,
            "rows": answer.request.record.rows,
            "cause": answer.cause,
            "usage": answer.usage.as_dict() if answer.usage else None,
            "timing": answer.timing or answer.timing_so_far(),
            "events": answer.log.count,
            "duration_ms": round((answer.ended_at - answer.request.received_at) * 1000, 1),
        }
        if answer.failure is not None:
            fields["message"] = answer.failure.message
        self.recent.add(fields)
        logs.answered(fields)


def _begin_fields(answer: Answer) -> dict[str, str | None]:
    """The members of an answer's log line that are known when it begins."""
    return {
        "request_id": answer.request.request_id,
        "route": answer.request.route,
        "provider": answer.provider,
        "model": answer.model,
        "key": answer.request.record.caller or None,
        "database": answer.database or None,
    }
