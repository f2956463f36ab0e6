"""Embeddings in the dialects of OpenAI's, DashScope's and Qianfan's services, played by a scripted server."""

from __future__ import annotations

import base64
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from providers.catalogue import WIRES
from providers.configuration import ProviderConfiguration
from providers.embeddings import EmbeddingsRequest
from providers.errors import BadKey, BrokenProtocol, NoSuchModel, ProviderError, QuotaExceeded, RateLimited, Rejected

# wire → where it is asked, texts of one request, the request's texts, the parameter for dimensions
WIRE = {
    "openai": ("/embeddings", 2048, lambda body: body["input"], lambda body: body.get("dimensions")),
    "qianfan": ("/embeddings", 16, lambda body: body["input"], lambda body: body.get("dimensions")),
    "dashscope": (
        "/services/embeddings/text-embedding/text-embedding",
        10,
        lambda body: body["input"]["texts"],
        lambda body: body.get("parameters", {}).get("dimension"),
    ),
}


def numbered(texts):
    """A vector for each text, last one first: the index says which is whose."""
    return [(n, [float(len(text)), 0.5]) for n, text in reversed(list(enumerate(texts)))]


def of_openai(texts):
    data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in numbered(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": "m", "usage": usage}


def of_dashscope(texts):
    found = [{"text_index": n, "embedding": vector, "sparse_embedding": []} for n, vector in numbered(texts)]
    usage = {"total_tokens": len(texts)}
    return {"request_id": "r", "code": "", "message": "", "output": {"embeddings": found}, "usage": usage}


WRITTEN = {"openai": of_openai, "qianfan": of_openai, "dashscope": of_dashscope}


@pytest.fixture
def service():
    """A server that answers with `replies` in turn, (status, body) each; `asked` has (path, headers, body)."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            """Nothing is printed."""

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, self.headers, body))
            status, reply = server.reply(body)
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def adapter(service, wire, **more):
    url = f"http://127.0.0.1:{service.server_address[1]}/api"
    row = {"type": wire, "base_url": url, "api_key": "secret-key", "model": "chat", "embedding_model": "embedder"}
    return WIRES[wire].load().Adapter(ProviderConfiguration(**(row | more)))


@pytest.mark.parametrize("wire", WIRE)
def test_texts_come_back_in_their_order_with_what_they_cost(service, wire):
    path, _, texts_of, dimensions_of = WIRE[wire]
    service.reply = lambda body: (200, WRITTEN[wire](texts_of(body)))
    found = adapter(service, wire).embed(EmbeddingsRequest(["a", "bb", "ccc"], dimensions=2))
    assert found.vectors == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]] and found.tokens == 3
    ((asked_path, headers, body),) = service.asked
    assert (asked_path, headers["Authorization"]) == (f"/api{path}", "Bearer secret-key")
    assert (body["model"], texts_of(body), dimensions_of(body)) == ("embedder", ["a", "bb", "ccc"], 2)


@pytest.mark.parametrize("wire", WIRE)
def test_more_texts_than_a_service_takes_are_asked_in_batches(service, wire):
    _, limit, texts_of, _ = WIRE[wire]
    service.reply = lambda body: (200, WRITTEN[wire](texts_of(body)))
    texts = ["x" * (n % 50 + 1) for n in range(35)]
    found = adapter(service, wire).embed(EmbeddingsRequest(texts))
    assert [vector[0] for vector in found.vectors] == [float(len(text)) for text in texts]
    assert found.tokens == 35 and max(len(texts_of(body)) for _, _, body in service.asked) <= limit
    assert len(service.asked) == -(-35 // limit)


@pytest.mark.parametrize(
    ("wire", "status", "reply", "error"),
    [
        ("dashscope", 401, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, BadKey),
        ("dashscope", 429, {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"}, RateLimited),
        ("dashscope", 400, {"code": "Arrearage", "message": "Access denied, the account is overdue"}, QuotaExceeded),
        ("dashscope", 400, {"code": "InvalidParameter", "message": "the input is too long"}, Rejected),
        ("dashscope", 404, {"code": "ModelNotFound", "message": "Model not exist."}, NoSuchModel),
        ("dashscope", 200, {"code": "InvalidApiKey", "message": "no", "output": None}, BadKey),
        ("qianfan", 401, {"error": {"code": "invalid_iam_token", "message": "IAM token invalid"}}, BadKey),
        ("qianfan", 429, {"error": {"code": "rpm_rate_limit_exceeded", "message": "Rate limit"}}, RateLimited),
        ("qianfan", 400, {"error": {"code": "malformed_json", "message": "input: too many texts"}}, Rejected),
        ("qianfan", 404, {"error": {"code": "invalid_model", "message": "model not found"}}, NoSuchModel),
        ("openai", 200, {"error": {"message": "the model fell over", "code": 500}}, ProviderError),
        ("openai", 200, {"data": []}, BrokenProtocol),
        ("openai", 200, {"data": [{"index": 0, "embedding": "no base64!"}]}, BrokenProtocol),
        ("openai", 200, {"data": [{"index": 0, "embedding": [None]}]}, BrokenProtocol),
        ("openai", 200, b"<html>hello</html>", BrokenProtocol),
        ("openai", 200, b"[1]", BrokenProtocol),
        ("dashscope", 200, {"output": {"embeddings": [{"text_index": 0}]}}, BrokenProtocol),
        ("dashscope", 200, {"output": {}}, BrokenProtocol),
    ],
)
def test_a_failure_is_named_by_its_meaning(service, wire, status, reply, error):
    service.reply = lambda body: (status, reply)
    with pytest.raises(error) as caught:
        adapter(service, wire).embed(EmbeddingsRequest(["a"]))
    assert "secret-key" not in str(caught.value.message) and len(service.asked) == 1


@pytest.mark.parametrize("wire", ["openai", "qianfan"])
def test_a_service_that_answers_in_base64_is_read_too(service, wire):
    encoded = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    service.reply = lambda body: (200, {"data": [{"index": 0, "embedding": encoded}], "usage": {"total_tokens": 4}})
    found = adapter(service, wire).embed(EmbeddingsRequest(["a"]))
    assert found.vectors == [[0.5, -2.0]] and found.tokens == 4


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": "7"}, "seven"])
@pytest.mark.parametrize("wire", WIRE)
def test_a_count_that_is_missing_or_odd_is_none_and_never_made_up(service, wire, usage):
    service.reply = lambda body: (200, WRITTEN[wire](WIRE[wire][2](body)) | {"usage": usage})
    assert adapter(service, wire).embed(EmbeddingsRequest(["a"])).tokens is None
