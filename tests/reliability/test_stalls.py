"""What could hold up the event loop of a worker, and with it every stream."""

from __future__ import annotations

import re

from providers.scripted import Upstream
from tests.reliability.rig import CONF, Gateway, fetch
from tests.waiting import eventually

HOOK = """
def post_request(worker, req, environ, resp):
    import gc
    print(f"tracked: {len(gc.get_objects())}", flush=True)
"""
# The application itself is some 90,000 objects, which the garbage collector takes 65 ms to go through.
MOST = 20_000


def test_a_collection_of_garbage_does_not_go_through_the_whole_application(tmp_path):
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text(CONF.read_text("utf-8") + HOOK, "utf-8")
    with Upstream() as upstream:
        gateway = Gateway(tmp_path / "gateway", upstream.url, conf=conf)
        try:
            assert fetch(gateway.address, "GET", "/healthz").status == 200
            tracked = eventually(lambda: re.findall(r"tracked: (\d+)", gateway.said()))
        finally:
            gateway.kill()
    assert int(tracked[-1]) < MOST
