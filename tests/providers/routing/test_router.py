"""Who is asked and how often: retries, fallbacks, the breaker, replicas. The clock and the waits are passed in."""

from __future__ import annotations

import contextlib

import pytest

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import Breaker as BreakerSettings
from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.errors import (
    BadKey,
    BrokenProtocol,
    ContextTooLong,
    CutOff,
    EngineFailed,
    Moderated,
    NoSuchModel,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    TimedOut,
    TooLarge,
    Unreachable,
    UpstreamFailed,
)
from providers.routing.breaker import Breaker
from providers.routing.replicas import DEAD_S, Replicas
from providers.routing.router import Provider, RoutedStream

REQUEST = ChatRequest([{"role": "user", "content": "hi"}])
REPLY = [[Delta("Hi")], [Delta(finish_reason="stop")]]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """An adapter whose attempts each give batches, and then raise where the script has a failure."""

    def __init__(self, *attempts) -> None:
        self.attempts = list(attempts)
        self.asked: list[ChatRequest] = []
        self.closed = 0

    def check(self, request):
        pass

    def parameter_changes(self, request):
        return ["something"]

    def close(self):
        pass

    def ask(self, request):
        self.asked.append(request)
        try:
            for step in self.attempts.pop(0):
                if isinstance(step, ProviderError):
                    raise step
                yield step
        finally:
            self.closed += 1


def provider(adapter, name="one", clock=None, **settings) -> Provider:
    settings = {"type": "openai", "model": f"m-{name}", "base_url": "http://x"} | settings
    configuration = ProviderConfiguration(**settings)
    breaker = Breaker(configuration.breaker, clock or Clock())
    return Provider(name, configuration, breaker, lambda: adapter)


def answered(*providers: Provider) -> tuple[str, RoutedStream, list[float]]:
    """(text, the stream, the waits between its attempts)."""
    waits: list[float] = []
    stream = RoutedStream(REQUEST, providers, waits.append)
    return "".join(delta.text for batch in stream for delta in batch), stream, waits


def refused():
    return Unreachable("refused", request_sent=False)


# -- asking again


def test_a_question_that_did_not_go_out_is_asked_again():
    adapter = Scripted([refused()], REPLY)
    text, stream, waits = answered(provider(adapter))
    assert (text, len(adapter.asked), stream.provider, stream.model) == ("Hi", 2, "one", "m-one")
    assert 0.25 <= waits[0] < 0.5


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_it_is_asked_again_as_often_as_the_configuration_says(retries):
    adapter = Scripted(*[[refused()]] * 9)
    with pytest.raises(Unreachable):
        answered(provider(adapter, retries=retries))
    assert len(adapter.asked) == 1 + retries


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("closed before it answered"),
        TimedOut("slow", deadline="first_token"),
        UpstreamFailed("500"),
        BrokenProtocol("html"),
        CutOff("cut"),
        BadKey("no"),
        QuotaExceeded("no"),
        Rejected("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_question_that_may_have_been_taken_is_not_asked_again(error):
    adapter = Scripted([error], REPLY)
    with pytest.raises(type(error)):
        answered(provider(adapter, retries=3))
    assert len(adapter.asked) == 1


@pytest.mark.parametrize(("told", "least", "most"), [(None, 0.25, 0.5), (2, 2, 3), (60, 5, 5), (0, 0, 0.2)])
def test_try_again_is_honoured_with_the_wait_it_names_up_to_five_seconds(told, least, most):
    adapter = Scripted([RateLimited("slow down", retry_after=told, upstream_said_retry=True)], REPLY)
    text, _, waits = answered(provider(adapter))
    assert text == "Hi"
    assert least <= waits[0] <= most


def test_waits_grow_and_are_not_all_the_same():
    def waits():
        return answered(provider(Scripted(*[[refused()]] * 3, REPLY), retries=3))[2]

    first, second = waits(), waits()
    assert first[0] < first[1] < first[2]
    assert first != second


def test_nothing_is_asked_again_after_the_first_delta():
    adapter = Scripted([[Delta("He")], UpstreamFailed("busy", upstream_said_retry=True)], REPLY)
    stream = RoutedStream(REQUEST, [provider(adapter), provider(Scripted(REPLY), "two")])
    assert next(iter(stream)) == [Delta("He")]
    with pytest.raises(UpstreamFailed):
        next(iter(stream))
    assert len(adapter.asked) == 1


def test_nothing_is_sent_before_iteration_starts():
    adapter = Scripted(REPLY)
    RoutedStream(REQUEST, [provider(adapter)]).close()
    assert adapter.asked == []


def test_closing_ends_the_attempt_at_once():
    adapter = Scripted([[Delta("a")], [Delta("b")]])
    one = provider(adapter)
    stream = RoutedStream(REQUEST, [one])
    next(iter(stream))
    assert one.in_flight == 1
    stream.close()
    assert (adapter.closed, one.in_flight) == (1, 0)


# -- fallbacks


@pytest.mark.parametrize(
    ("error", "steps_in"),
    [
        (refused(), True),
        (TimedOut("slow", deadline="first_token"), True),
        (UpstreamFailed("500"), True),
        (BrokenProtocol("html"), True),
        (CutOff("cut"), True),
        (BadKey("no"), True),
        (QuotaExceeded("no"), True),
        (RateLimited("slow down"), True),
        (NoSuchModel("no"), True),
        (Overloaded("full"), True),
        (Rejected("no"), False),
        (Moderated("no"), False),
        (ContextTooLong("no"), False),
    ],
    ids=lambda told: type(told).__name__,
)
def test_a_fallback_steps_in_unless_the_question_itself_is_at_fault(error, steps_in):
    first, second = Scripted([error]), Scripted(REPLY)
    candidates = [provider(first, retries=0), provider(second, "two")]
    if steps_in:
        text, stream, _ = answered(*candidates)
        assert (text, stream.provider, stream.model) == ("Hi", "two", "m-two")
    else:
        with pytest.raises(type(error)):
            answered(*candidates)
        assert second.asked == []


def test_where_every_provider_fails_the_last_failure_is_told():
    with pytest.raises(QuotaExceeded):
        answered(provider(Scripted([BadKey("no")])), provider(Scripted([QuotaExceeded("no")]), "two"))


def providers() -> Providers:
    openai = {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}
    qwen = {"type": "dashscope", "model": "q"}
    return Providers({n: ProviderConfiguration(**c) for n, c in (("a", openai), ("q", qwen))}, "a", ["q", "a"])


def test_a_provider_that_the_request_named_is_never_replaced():
    with pytest.raises(Unreachable):
        list(providers().stream(REQUEST, "a"))
    with pytest.raises(BadKey, match="api_key not set"):
        list(providers().stream(REQUEST))
    with pytest.raises(KeyError):
        providers().stream(REQUEST, "nobody")


def test_providers_are_described():
    told = {entry.name: entry for entry in providers().described()}
    assert (told["a"].available, told["a"].breaker, told["a"].in_flight, told["a"].model) == (True, "closed", 0, "m")
    assert (told["q"].available, told["q"].reason) == (False, "api_key not set")


def test_a_providers_defaults_fill_what_the_request_leaves_open():
    adapter = Scripted(REPLY)
    defaults = {"temperature": 0.5, "top_k": -1, "max_tokens": 9, "stop": ["x"]}
    one = provider(adapter, defaults=defaults)
    list(RoutedStream(ChatRequest.of([], max_tokens=5), [one]))
    asked = adapter.asked[0]
    assert (asked.sampling.temperature, asked.sampling.top_k, asked.sampling.max_tokens, asked.sampling.stop) == (
        0.5,
        None,
        5,
        ("x",),
    )


# -- the breaker

AGAINST = [refused(), TimedOut("x", deadline="idle"), UpstreamFailed("x"), BrokenProtocol("x"), CutOff("x")]
NOT_AGAINST = [BadKey("x"), RateLimited("x"), QuotaExceeded("x"), Rejected("x"), NoSuchModel("x"), TooLarge("x")]


@pytest.mark.parametrize("error", AGAINST, ids=lambda error: type(error).__name__)
def test_it_opens_on_a_failure_rate_once_there_are_enough_questions(error):
    breaker = Breaker(BreakerSettings(at_least=3), Clock())
    for _ in range(2):
        breaker.failed(error)
    assert breaker.state == "closed"
    breaker.failed(error)
    assert breaker.state == "open"
    with pytest.raises(Overloaded) as caught:
        breaker.admit()
    assert caught.value.retry_after == 2


@pytest.mark.parametrize("error", NOT_AGAINST, ids=lambda error: type(error).__name__)
def test_failures_that_do_not_speak_against_the_upstream_do_not_open_it(error):
    breaker = Breaker(BreakerSettings(at_least=1), Clock())
    breaker.failed(error)
    assert breaker.state == "closed"


def test_it_stays_closed_while_most_questions_are_answered():
    breaker = Breaker(BreakerSettings(at_least=2, rate=0.5), Clock())
    for _ in range(20):
        breaker.succeeded()
        breaker.succeeded()
        breaker.failed(CutOff("x"))
    assert breaker.state == "closed"
    for _ in range(20):
        breaker.failed(CutOff("x"))
    assert breaker.state == "open"


def test_failures_before_the_window_are_forgotten():
    clock = Clock()
    breaker = Breaker(BreakerSettings(at_least=3, window_s=30), clock)
    for _ in range(2):
        breaker.failed(CutOff("x"))
    clock.now += 31
    breaker.failed(CutOff("x"))
    assert breaker.state == "closed"


def test_one_callers_tries_of_one_question_are_one_failure():
    clock = Clock()
    breaker = Breaker(BreakerSettings(at_least=2), clock)
    for _ in range(9):
        breaker.failed(CutOff("x"), "the same")
        clock.now += 1
    assert breaker.state == "closed"
    breaker.failed(CutOff("x"), "another")
    assert breaker.state == "open"


@pytest.mark.parametrize("busy", [RateLimited("slow down"), UpstreamFailed("full", upstream_said_retry=True)])
def test_busy_is_back_pressure_and_no_failure(busy):
    clock = Clock()
    breaker = Breaker(BreakerSettings(at_least=1), clock)
    for _ in range(9):
        breaker.failed(busy)
    assert breaker.state == "closed"
    breaker.failed(CutOff("x"))
    clock.now += 2
    assert breaker.admit() is True
    breaker.failed(busy)  # the probe finds it there, and busy
    assert breaker.state == "closed"


def test_each_failing_probe_makes_the_rest_longer_up_to_open_s():
    clock = Clock()
    breaker = Breaker(BreakerSettings(at_least=1, open_s=30), clock)
    breaker.failed(CutOff("x"))
    rests = []
    for _ in range(6):
        before = clock.now
        while breaker.state == "open":
            clock.now += 0.5
        rests.append(clock.now - before)
        assert breaker.admit() is True
        breaker.failed(CutOff("x"))
        breaker.released()
    assert rests == [2, 4, 8, 16, 30, 30]


def test_a_reply_that_was_read_to_its_finish_and_no_further_is_a_success():
    settings = {"at_least": 3, "rate": 0.9}
    asked = provider(Scripted([CutOff("x")], REPLY, [CutOff("x")]), retries=0, breaker=settings, clock=Clock())
    for number in range(3):
        with contextlib.suppress(CutOff):
            request = ChatRequest([{"role": "user", "content": str(number)}])
            stream = RoutedStream(request, [asked], lambda seconds: None)
            for batch in stream:
                if batch[-1].finish_reason:
                    stream.close()
                    break
    assert asked.breaker.state == "closed"


def test_an_engine_that_fails_on_one_request_is_not_given_a_rest():
    breaker = Breaker(BreakerSettings(at_least=1), Clock())
    breaker.failed(EngineFailed("x"))
    assert breaker.state == "closed"


def test_an_open_breaker_asks_nobody_and_lets_one_probe_through_later():
    clock = Clock()
    settings = {"retries": 0, "breaker": {"at_least": 1, "open_s": 30}}
    adapter = Scripted([CutOff("x")], [[Delta("a")], [Delta(finish_reason="stop")]], REPLY)
    one = provider(adapter, clock=clock, **settings)
    with pytest.raises(CutOff):
        answered(one)
    with pytest.raises(Overloaded, match="provider one is not asked"):
        answered(one)
    assert (len(adapter.asked), one.breaker.state) == (1, "open")
    clock.now += 30
    assert one.breaker.state == "half_open"
    probe = iter(RoutedStream(REQUEST, [one])._run())
    next_one = RoutedStream(REQUEST, [one])
    assert next(probe) == [Delta("a")]
    # Its first delta is proof enough.
    assert one.breaker.state == "closed"
    assert next(iter(next_one)) == REPLY[0]


def test_only_one_probe_is_let_through_and_its_failure_opens_again():
    clock = Clock()
    breaker = Breaker(BreakerSettings(at_least=1), clock)
    breaker.failed(CutOff("x"))
    clock.now += 31
    assert breaker.admit() is True
    with pytest.raises(Overloaded):
        breaker.admit()
    breaker.failed(CutOff("x"))
    breaker.released()
    assert breaker.state == "open"
    clock.now += 31
    assert breaker.admit() is True


def test_a_probe_that_was_stopped_lets_another_one_through():
    clock = Clock()
    one = provider(Scripted([[]], [[]]), clock=clock, breaker={"at_least": 1, "open_s": 30})
    one.breaker.failed(CutOff("x"))
    clock.now += 31
    stream = RoutedStream(REQUEST, [one])
    next(iter(stream))
    one.breaker.failed(CutOff("x"))
    stream.close()
    clock.now += 31
    assert one.breaker.admit() is True


def test_a_fallback_answers_while_the_breaker_is_open():
    first = provider(Scripted(), breaker={"at_least": 1, "open_s": 30})
    first.breaker.failed(CutOff("x"))
    text, stream, _ = answered(first, provider(Scripted(REPLY), "two"))
    assert (text, stream.provider) == ("Hi", "two")


# -- replicas


def test_the_least_busy_replica_is_asked():
    replicas = Replicas(["a", "b", "c"], Clock())
    taken = [replicas.take() for _ in range(6)]
    assert sorted(taken) == ["a", "a", "b", "b", "c", "c"]
    replicas.release("b")
    assert replicas.take() == "b"
    assert replicas.in_flight == 6


def test_idle_replicas_take_turns():
    replicas, taken = Replicas(["a", "b"], Clock()), []
    for _ in range(4):
        taken.append(replicas.take())
        replicas.release(taken[-1])
    assert sorted(taken) == ["a", "a", "b", "b"]


def test_a_dead_replica_is_passed_over_for_a_while():
    clock = Clock()
    replicas = Replicas(["a", "b"], clock)
    replicas.dead("a")
    assert [replicas.take() for _ in range(3)] == ["b"] * 3
    assert replicas.alive == 1
    clock.now += DEAD_S
    assert [replicas.take() for _ in range(2)] == ["a"] * 2


def test_where_all_are_dead_the_longest_dead_one_is_tried():
    clock = Clock()
    replicas = Replicas(["a", "b"], clock)
    replicas.dead("b")
    clock.now += 1
    replicas.dead("a")
    assert replicas.take() == "b"
