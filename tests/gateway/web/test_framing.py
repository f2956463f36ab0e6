"""Which pages may show ours in a frame."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("origins", "told"),
    [([], "frame-ancestors 'none'"), (["https://intranet.example"], "frame-ancestors https://intranet.example")],
)
def test_only_configured_origins_may_frame_the_page(app_for, origins, told):
    client = app_for(server={"frame_ancestors": origins}).test_client()
    policy = client.get("/").headers["Content-Security-Policy"]
    assert policy.endswith(told) and policy.count("frame-ancestors") == 1
