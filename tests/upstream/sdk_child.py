"""Both transports, side by side, over every recorded case and fault of the wires that have an SDK; prints JSON.

A process of its own, because it patches the standard library as a worker does.
"""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import io
import json
import logging
import sys
from typing import Any

import msgspec
from gevent.server import StreamServer

from providers import Providers
from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import ProviderError
from providers.scripted import Upstream
from providers.stream import tool_calls
from tests.cases import Case, recorded_cases
from tests.upstream import faults

WITH_SDK = [name for name, wire in WIRES.items() if wire.sdk]
CASES = [case for case in recorded_cases() if case.wire in WITH_SDK]


def serve(sock: Any, _: Any) -> None:
    """Answer with the case whose number is the first part of the path."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(65536)
        if not data:
            return
        head += data
    case = CASES[int(head.split(b" ")[1].split(b"/")[1])]
    told = {"content-type": case.content_type, "transfer-encoding": "chunked", "connection": "close", **case.headers}
    lines = [f"HTTP/1.1 {case.status} Said", *(f"{name}: {value}" for name, value in told.items())]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    if case.body:
        sock.sendall(b"%x\r\n%b\r\n" % (len(case.body), case.body))
    if not case.cut:
        sock.sendall(b"0\r\n\r\n")
    sock.close()


def asked(case: Case, base_url: str, transport: str) -> dict[str, Any]:
    """What comes of one case over one transport."""
    provider = {**case.provider, "base_url": base_url, "transport": transport, "retries": 0}
    providers = Providers({"p": ProviderConfiguration(**provider)}, "p")
    deltas, code = [], ""
    try:
        for batch in providers.stream(ChatRequest([{"role": "user", "content": "hi"}])):
            deltas += [msgspec.to_builtins(delta) for delta in batch]
    except ProviderError as error:
        code = error.code
    providers.close()
    return {"deltas": deltas, "code": code}


def _steady_id(index: int) -> str:
    return f"call_made_{index}"


def conformance() -> dict[str, Any]:
    tool_calls.made_id = _steady_id  # so that two runs can be compared
    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    told = {}
    for number, case in enumerate(CASES):
        base_url = f"http://127.0.0.1:{server.server_port}/{number}"
        told[str(case)] = {transport: asked(case, base_url, transport) for transport in ("http", "sdk")}
    server.stop()
    return told


def fault_table() -> dict[str, Any]:
    told = {}
    rows = [row for row in faults.rows() if row.wire in WITH_SDK]
    with Upstream() as shared:
        for row in rows:
            row.provider = {**row.provider, "transport": "sdk"}
            # A session of its own ends with its stream: nothing is ever kept.
            row.connection = "none" if row.connection == "none" else "closed"
        outcomes = faults.all_outcomes(lambda row: faults.ask(row, shared), wanted=rows)
    for name, outcome in outcomes.items():
        failure = outcome.failure
        told[name] = {
            "text": outcome.text,
            "ends": outcome.ends,
            "code": failure.code if failure else "done",
            "message": repr(vars(failure)) if failure else "",
            "asked": outcome.asked,
            "closed_after_s": outcome.closed_after_s,
        }
    return told


def main() -> None:
    said = io.StringIO()
    logging.basicConfig(level=logging.DEBUG, stream=said)
    for name in ("dashscope", "qianfan"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    json.dump({"cases": conformance(), "faults": fault_table(), "log": said.getvalue()}, sys.stdout)


if __name__ == "__main__":
    main()
