"""Every wire Sluice speaks, one row each: routes, tests and docs read them here.

Adding a wire is its module, its row here and its recorded cases under tests/cases/. A service on a known wire is a few
lines of configuration and no code.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Wire:
    """
    module      has the class `Adapter(configuration)`; imported only when a configured provider asks for it
    base_url    where it is served when the configuration names no other place; "" = the configuration must
    secrets     keys of the configuration without which it cannot be asked
    sdk         the module of its vendor's SDK transport, or ""
    own_process it is answered by a process of ours, which can be asked how it does
    path        where chats are asked behind base_url; one that ends in it is taken for the whole address
    roles       roles that its service is known to refuse → what they are sent as
    incremental the mode of its text when nothing else is said: True = deltas, False = all the text so far
    """

    name: str
    module: str
    base_url: str = ""
    secrets: tuple[str, ...] = ()
    sdk: str = ""
    path: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    incremental: bool = True
    own_process: bool = False

    def load(self, transport: str = "http") -> ModuleType:
        """The adapter's module for `transport`, http or sdk."""
        return importlib.import_module(self.sdk if transport == "sdk" else self.module)


WIRES = {
    wire.name: wire
    for wire in (
        Wire("local", module="providers.local.client", own_process=True),
        Wire("openai", module="providers.wires.openai", path="/chat/completions"),
        Wire(
            "dashscope",
            module="providers.wires.dashscope",
            base_url="https://dashscope.aliyuncs.com/api/v1",
            secrets=("api_key",),
            path="/services/aigc/text-generation/generation",
            roles={"developer": "system"},
            sdk="providers.wires.sdk.dashscope",
            incremental=False,
        ),
        Wire(
            "dashscope_app",
            module="providers.wires.dashscope_app",
            base_url="https://dashscope.aliyuncs.com/api/v1",
            secrets=("api_key",),
            roles={"developer": "system"},
        ),
        Wire(
            "dashscope_compatible",
            module="providers.wires.openai",
            base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
            secrets=("api_key",),
            path="/chat/completions",
            roles={"developer": "system"},
        ),
        Wire(
            "ernie",
            module="providers.wires.ernie",
            base_url="https://aip.baidubce.com",
            secrets=("api_key", "secret_key"),
        ),
        Wire(
            "qianfan",
            module="providers.wires.qianfan",
            base_url="https://qianfan.baidubce.com/v2",
            secrets=("api_key",),
            path="/chat/completions",
            roles={"developer": "system"},
            sdk="providers.wires.sdk.qianfan",
        ),
    )
}
