"""Steps become events once, and every form of a reply is written from those events."""

from __future__ import annotations

import json

import pytest

from gateway.answers.events import Encoder
from gateway.answers.log import Full, Log
from gateway.answers.steps import Correcting, Done, Reasoning, Rows, Sql, Start, Text, ToolCalls, of
from gateway.errors import TABLE, Failure
from gateway.formats import native, openai
from gateway.text2sql.errors import SqlFailed, SqlLimit
from providers.delta import Delta, ToolCallDelta, Usage
from providers.errors import ProviderError
from providers.stream.sse import Decoder

SQL = Sql("SELECT 1", "sqlite", ["dtzpt"], True)
ROWS = Rows([{"name": "1", "type": "int"}], [[1]], False, 0.5)


def written(*batches):
    """An answer's batches, from `Start` on."""
    encoder = Encoder("abc", 1700000000.9)
    return [encoder.batch(steps, {"queue": 1.0}) for steps in ([Start("p", "m")], *batches)]


def sse(batches):
    frames = Decoder().feed(b"".join(batch.sse for batch in batches))
    return [(frame.id, frame.event, json.loads(frame.data)) for frame in frames]


def test_what_one_read_brought_is_one_event_a_channel():
    steps = of([Delta("a"), Delta("b"), Delta(reasoning="c"), Delta(reasoning="d"), Delta("e", finish_reason="stop")])
    assert [type(step) for step in steps] == [Text, Reasoning, Text, Done]
    assert [name for _, name, _ in sse(written(steps))] == ["start", "", "reasoning", "", "done"]
    assert [data.get("text") for _, _, data in sse(written(steps))][1:4] == ["ab", "cd", "e"]


def test_numbers_have_no_gaps_whatever_a_batch_holds():
    batches = written([Text("a"), Text("b")], [Text("")], [Correcting("why", 1)], [Reasoning("c"), SQL, ROWS])
    assert [id for id, _, _ in sse([batch for batch in batches if batch])] == [f"abc.{n}" for n in range(1, 7)]
    assert batches[2] is None


@pytest.mark.parametrize(("said", "told"), [([], ""), ([Text("a")], "a\n"), ([Text("a\n")], "a\n")])
def test_a_text_that_was_stopped_says_so_in_a_last_line(said, told):
    form, batches = native.Text(), written([*said, Done("cancelled")])
    assert "".join(form.write(batch).decode() for batch in batches) == told + "[cancelled]\n"


def test_openai_s_clients_are_told_of_a_stopped_answer_in_a_word_that_they_know():
    batches = written([Text("a")], [Done("cancelled")])
    form = openai.Chunks(with_usage=False)
    *_, last, end = b"".join(form.write(batch) for batch in batches).split(b"\n\n")[:-1]
    assert json.loads(last.removeprefix(b"data: "))["choices"][0]["finish_reason"] == "length"
    assert end == b"data: [DONE]"
    whole = openai.completion([event for batch in batches for event in batch.events])
    assert whole["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("text", ["\n\n", "\r", "\u2028\x85", "\x00", '"\\', "data: x\n\nevent: y", "👩\u200d👧", " "])
def test_any_text_comes_back_as_it_went_in(text):
    found = sse(written([Text(text)]))
    assert found[1] == ("abc.2", "", {"text": text})


def test_a_batch_is_read_back_as_it_was_written():
    batch = written([Text("a\n\nb"), SQL, Done("stop", Usage(1, 2, 3, cached_tokens=1))])[1]
    assert [name for name, _ in batch.events] == ["message", "sql", "done"]
    assert batch.events[1].data == {
        "sql": "SELECT 1", "dialect": "sqlite", "tables": ["dtzpt"], "ok": True, "reason": None, "final": False
    }  # fmt: skip
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cached_tokens": 1}
    assert batch.events[2].data == {"finish_reason": "stop", "usage": usage, "timing": {"queue": 1.0}}


def test_sql_and_rows_are_in_the_last_line_and_in_the_whole():
    batches = written([Text("说")], [SQL, ROWS], [Done("stop")])
    form = native.NdJson()
    lines = b"".join(form.write(batch) for batch in batches).splitlines()
    assert len(lines) == 2
    last = json.loads(lines[-1])
    whole = native.whole([event for batch in batches for event in batch.events])
    for told in (last, whole):
        assert told["sql"]["sql"] == "SELECT 1"
        assert told["rows"]["rows"] == [[1]]
    assert last["content"] == whole["answer"] == "说"


def test_a_batch_with_text_and_the_end_is_one_line():
    form = native.NdJson()
    lines = b"".join(form.write(batch) for batch in written([Text("a"), Text("b"), Done("length")])).splitlines()
    assert [json.loads(line)["content"] for line in lines] == ["ab"]


def test_a_failed_line_of_text_begins_on_a_line_of_its_own():
    encoder = Encoder("abc", 0)
    failed = encoder.failed(Failure("truncated", "it stopped"), "r", "p", "m")
    for said, between in (("a", "\n"), ("a\n", "")):
        form = native.Text()
        assert form.write(written([Text(said)])[1]) == said.encode()
        assert form.write(failed) == f"{between}[failed: truncated] it stopped\n".encode()


def test_a_failure_before_anything_else_still_begins_with_start():
    encoder = Encoder("abc", 0)
    batch = encoder.failed(Failure("overloaded", "full"), "r-1", "p", "m")
    assert [name for name, _ in batch.events] == ["start", "failed"]
    assert batch.events[1].data == {
        "code": "overloaded", "message": "full", "retryable": True, "retry_after": 1, "request_id": "r-1"
    }  # fmt: skip


def test_logprobs_pass_to_openais_forms():
    entry = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    batches = written(of([Delta("a", logprobs=[entry]), Delta("b", logprobs=[entry])]), [Done("stop")])
    form = openai.Chunks(with_usage=False)
    chunks = [json.loads(frame.data) for frame in Decoder().feed(b"".join(map(form.write, batches)))[:-1]]
    assert chunks[1]["choices"][0]["logprobs"]["content"] == [entry, entry]
    assert chunks[1]["choices"][0]["delta"] == {"content": "ab"}
    whole = openai.completion([event for batch in batches for event in batch.events])
    assert whole["choices"][0]["logprobs"]["content"] == [entry, entry]
    assert whole["usage"] is None


def test_a_tool_calls_name_and_id_are_told_once():
    form = openai.Chunks(with_usage=False)
    pieces = [ToolCallDelta(0, "c", "f", "{"), ToolCallDelta(0, "", "", "}")]
    batches = written([ToolCalls([pieces[0]])], [ToolCalls([pieces[1]])], [Done("tool_calls")])
    chunks = [json.loads(frame.data) for frame in Decoder().feed(b"".join(map(form.write, batches)))[:-1]]
    assert [chunk["choices"][0]["delta"].get("tool_calls") for chunk in chunks[1:3]] == [
        [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}],
        [{"index": 0, "function": {"arguments": "}"}}],
    ]


def test_a_log_gives_back_any_part_of_what_it_took():
    log = Log(1 << 20)
    batches = written([Text("a"), SQL, ROWS], [Text("b")], [Done("stop")])
    for batch in batches:
        log.append(batch, final=batch is batches[-1])
    all_of_it = b"".join(batch.sse for batch in batches)
    assert log.count == 6
    blocks = all_of_it.split(b"\n\n")[:-1]
    for n in range(6):
        found = log.after(n)
        assert found.first == n + 1
        assert found.sse == b"\n\n".join([*blocks[n:], b""])
        # However little is taken at a time, the pieces are whole events and together the rest.
        position, pieces = n, []
        while (piece := log.after(position, 1)) is not None:
            pieces.append(piece.sse)
            position += len(piece.ends)
        assert b"".join(pieces) == found.sse
    assert log.after(6) is None


def test_a_log_is_bounded_but_for_the_end():
    log = Log(200)
    log.append(written([Text("a")])[0])
    big = written([Text("x" * 200)])[1]
    with pytest.raises(Full):
        log.append(big)
    log.append(big, final=True)
    assert log.count == 2


def test_every_failure_that_can_be_raised_is_in_the_table():
    def below(error):
        for sub in error.__subclasses__():
            yield sub
            yield from below(sub)

    for error in [*below(ProviderError), SqlFailed, SqlLimit]:
        status, retryable, _ = TABLE[error.code]
        named = "retryable_by_client" if issubclass(error, ProviderError) else "retryable"
        assert retryable == getattr(error, named, retryable), error
        assert 400 <= status < 600


def test_plain_text_has_no_nul_and_json_forms_keep_it():
    batches = written([Text("a\x00b"), Text("\x00")], [Done("stop")])
    assert b"".join(native.Text().write(batch) for batch in [batches[0]]) == b""
    form = native.Text()
    assert b"".join(form.write(batch) for batch in batches) == b"ab"
    assert "\\u0000" in b"".join(batch.sse for batch in batches).decode()


def test_members_beside_the_text_pass_on_v1_and_done_names_them_elsewhere():
    image = {"images": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}
    batches = written(of([Delta(extras=image), Delta("a", finish_reason="stop", finish_reason_raw="vacation")]))
    (end,) = [data for _, name, data in sse(batches) if name == "done"]
    assert (end["dropped"], end["finish_reason_raw"]) == (["images"], "vacation")
    form = openai.Chunks(with_usage=False)
    chunks = b"".join(form.write(batch) for batch in batches)
    assert b'"delta":{"images":[' in chunks
    events = [event for batch in batches for event in batch.events]
    assert openai.completion(events)["choices"][0]["message"]["images"] == image["images"]
