"""A model's folder: what is in it, judged before anything heavy is imported or read.

config.json                                 the architecture (transformers' form)
model.safetensors, or the files that model.safetensors.index.json names    the weights
tokenizer.json, tokenizer_config.json       tokens, their special ones, the chat template
chat_template.jinja                         the template, where it is a file of its own
generation_config.json                      how its makers sample; where it ends
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.local.engine.errors import CannotLoad

ARCHITECTURES = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM")
WANTED = ["*.json", "*.safetensors", "*.jinja"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns every error within into CannotLoad; the message has `what` and the reason, but no path."""
    try:
        yield
    except CannotLoad:
        raise
    except OSError as error:
        raise CannotLoad(f"{what} cannot be read: {error.strerror or type(error).__name__}") from error
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise CannotLoad(f"{what} cannot be read: {type(error).__name__}: {first}") from error


@dataclass(slots=True)
class Folder:
    """What a model's folder holds: its JSON files as they are, its weights as files."""

    path: Path
    name: str
    config: dict[str, Any]
    tokenizer: dict[str, Any]
    generation: dict[str, Any]
    chat_template: str
    weight_files: list[Path]
    tool_template: str = ""

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a reply."""
        value = self.generation.get("eos_token_id", self.config.get("eos_token_id"))
        ends = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(end, int) for end in ends):
            raise CannotLoad(f"{self.name}: eos_token_id must be a token number or a list of them, got {value!r}")
        return frozenset(ends)


def open_folder(model: str) -> Folder:
    """The folder of `model`, a path or a hub name. Raises CannotLoad."""
    path = Path(model)
    if path.is_dir():
        # Only the last part: errors are shown to clients, who must not see this machine's paths.
        model = path.name
    else:
        path = _from_hub(model)
    config = _read(path, "config.json", model)
    if "auto_map" in config:
        raise CannotLoad(f"{model} wants to run code of its own (auto_map in config.json), which the engine never does")
    named = config.get("architectures") or ["none named"]
    architecture = named[0] if isinstance(named, list) else named
    if architecture not in ARCHITECTURES:
        raise CannotLoad(f"{model} is a {architecture}; the engine knows {', '.join(ARCHITECTURES)}")
    _check_variant(model, config)
    tokenizer = _read(path, "tokenizer_config.json", model)
    if not (path / "tokenizer.json").is_file():
        raise CannotLoad(f"{model} has no tokenizer.json")
    generation = _read(path, "generation_config.json", model) if (path / "generation_config.json").exists() else {}
    template = _template(path, tokenizer)
    if not template:
        raise CannotLoad(f"{model} has no chat template, neither as chat_template.jinja nor in tokenizer_config.json")
    return Folder(
        path, model, config, tokenizer, generation, template, _weights(path, model), _named(tokenizer, "tool_use")
    )


def _from_hub(model: str) -> Path:
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CannotLoad(f"there is no folder {Path(model).name}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CannotLoad(f"there is no folder {model}, and huggingface_hub is not installed to fetch it") from None
    try:
        return Path(snapshot_download(model, allow_patterns=WANTED))
    except Exception as error:  # noqa: BLE001 - the hub's client raises many kinds
        raise CannotLoad(f"there is no folder {model}, and the hub did not give it: {type(error).__name__}") from None


def _read(path: Path, name: str, model: str) -> dict[str, Any]:
    if not (path / name).exists():
        raise CannotLoad(f"{model} has no {name}")
    with reading(f"{name} of {model}"):
        read = json.loads((path / name).read_text(encoding="utf-8"))
    if not isinstance(read, dict):
        raise CannotLoad(f"{name} of {model} must be a JSON object")
    return read


def _check_variant(model: str, config: dict[str, Any]) -> None:
    if config.get("hidden_act", "silu") != "silu":
        raise CannotLoad(f"{model} uses {config['hidden_act']} in its MLP; the engine knows silu")
    if config.get("quantization_config"):
        raise CannotLoad(f"{model} is quantised; the engine takes bfloat16, float16 and float32 weights")
    if config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or []):
        raise CannotLoad(f"{model} uses sliding-window attention; the engine knows full attention")


def _template(path: Path, tokenizer: dict[str, Any]) -> str:
    file = path / "chat_template.jinja"
    if file.is_file():
        with reading(file.name):
            return file.read_text(encoding="utf-8")
    template = tokenizer.get("chat_template") or ""
    if isinstance(template, list):
        return _named(tokenizer, "default")
    return template if isinstance(template, str) else ""


def _named(tokenizer: dict[str, Any], name: str) -> str:
    """The template of that name, where tokenizer_config.json has several; "" where it has none."""
    templates = tokenizer.get("chat_template")
    entries = templates if isinstance(templates, list) else []
    named = [entry for entry in entries if isinstance(entry, dict) and entry.get("name") == name]
    template = named[0].get("template") if named else ""
    return template if isinstance(template, str) else ""


def _weights(path: Path, model: str) -> list[Path]:
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    files: list[Path] = []
    if (path / "model.safetensors.index.json").is_file():
        index = _read(path, "model.safetensors.index.json", model)
        with reading(f"model.safetensors.index.json of {model}"):
            files = [path / name for name in sorted(set(index["weight_map"].values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CannotLoad(f"{model} has no {missing[0]}, which its index names")
    if not files:
        if any(next(path.glob(pattern), None) for pattern in PICKLES):
            raise CannotLoad(f"{model} has only pickled weights, which can run any code; convert them to safetensors")
        raise CannotLoad(f"{model} has no weights: neither model.safetensors nor an index of several")
    return files
