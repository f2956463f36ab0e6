"""A model's folder: what is in it, judged before anything heavy is imported or read.

config.json                                 the architecture (transformers' form)
model.safetensors, or the files that model.safetensors.index.json names    the weights
tokenizer.json, tokenizer_config.json       tokens, their special ones, the chat template
chat_template.jinja                         the template, where it is a file of its own
generation_config.json                      how its makers sample; where it ends
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.local.engine.compute.families import FAMILIES, Family
from providers.local.engine.errors import CannotLoad
from providers.sampling import OFF, in_range, whole

log = logging.getLogger("sluice.engine")

WAY_OUT = "; serve it with vLLM, behind a provider of type openai"
INT4 = (("awq", 4), ("gptq", 4))
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


def open_folder(model: str, loading: Callable[[], None] = lambda: None) -> Folder:
    """The folder of `model`, a path or a hub name. Raises CannotLoad.

    loading   called while it is fetched, whenever something came
    """
    path = Path(model)
    if path.is_dir():
        # Only the last part: errors are shown to clients, who must not see this machine's paths.
        model = path.name
    else:
        path = _elsewhere(model, loading)
    if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
        raise CannotLoad(
            f"{model} is a LoRA adapter, not a model: merge it into its base model (peft: merge_and_unload){WAY_OUT}"
        )
    config = _read(path, "config.json", model)
    if "auto_map" in config:
        raise CannotLoad(
            f"{model} wants to run code of its own (auto_map in config.json), which the engine never does{WAY_OUT}"
        )
    named = config.get("architectures") or ["none named"]
    architecture = named[0] if isinstance(named, list) else named
    if architecture not in FAMILIES:
        raise CannotLoad(f"{model} is a {architecture}; the engine knows {', '.join(FAMILIES)}{WAY_OUT}")
    _check_variant(model, config, FAMILIES[architecture])
    tokenizer = _read(path, "tokenizer_config.json", model)
    if not (path / "tokenizer.json").is_file():
        raise CannotLoad(f"{model} has no tokenizer.json")
    generation = _generation(path, model)
    template = _template(path, tokenizer)
    if not template:
        raise CannotLoad(f"{model} has no chat template, neither as chat_template.jinja nor in tokenizer_config.json")
    return Folder(
        path, model, config, tokenizer, generation, template, _weights(path, model), _named(tokenizer, "tool_use")
    )


def _elsewhere(model: str, loading: Callable[[], None]) -> Path:
    """The folder of a model that is no folder: a hub's name. Raises CannotLoad for anything else."""
    path = Path(model)
    if path.suffix == ".gguf" and path.is_file():
        raise CannotLoad(f"model: {path.name} is a GGUF file; the engine reads folders of safetensors{WAY_OUT}")
    if path.is_file():
        raise CannotLoad(f"model: must be a folder or a hub's name, got the file {path.name}")
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CannotLoad(f"model: there is no folder {path.name}")
    from providers.local.engine.serving.hub import fetch

    return fetch(model, loading)


def _read(path: Path, name: str, model: str) -> dict[str, Any]:
    if not (path / name).exists():
        raise CannotLoad(f"{model} has no {name}")
    with reading(f"{name} of {model}"):
        read = json.loads((path / name).read_text(encoding="utf-8"))
    if not isinstance(read, dict):
        raise CannotLoad(f"{name} of {model} must be a JSON object")
    return read


def _generation(path: Path, model: str) -> dict[str, Any]:
    """generation_config.json without the values that cannot be meant, which are named in the log."""
    if not (path / "generation_config.json").exists():
        return {}
    read = _read(path, "generation_config.json", model)
    odd = [name for name, fits in SENSIBLE.items() if read.get(name) is not None and not fits(read[name])]
    for name in odd:
        log.warning("generation_config.json of %s: %s is left out, got %s", model, name, json.dumps(read[name])[:60])
    return {name: value for name, value in read.items() if name not in odd}


def _fits(name: str) -> Callable[[Any], bool]:
    """Judges a value for the sampling parameter `name`; a whole number may be written as 20.0."""

    def fits(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not in_range(name, value):
            return False
        return not whole(name) or float(value).is_integer()

    return fits


def _tokens(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in values)


SENSIBLE: dict[str, Callable[[Any], bool]] = {
    **{name: _fits(name) for name in OFF},
    "max_new_tokens": _fits("max_tokens"),
    "eos_token_id": _tokens,
}
"""What values of generation_config.json are used; the ranges are those of a request."""


def _check_variant(model: str, config: dict[str, Any], family: Family) -> None:
    if config.get("hidden_act", "silu") != "silu":
        raise CannotLoad(f"{model} uses {config['hidden_act']} in its MLP; the engine knows silu{WAY_OUT}")
    quantised = config.get("quantization_config") or {}
    if quantised and (quantised.get("quant_method"), quantised.get("bits", quantised.get("w_bit"))) not in INT4:
        raise CannotLoad(
            f"{model} is quantised by {quantised.get('quant_method')}; the engine knows awq and gptq of 4 bits{WAY_OUT}"
        )
    slides = config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or [])
    if slides and not family.windowed:
        raise CannotLoad(f"{model} uses sliding-window attention; the engine knows full attention{WAY_OUT}")


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


def refusal(model: str) -> str | None:
    """Why the engine would refuse the folder or hub name `model`, as far as its files tell; None if it would not."""
    from providers.local.engine.compute.config import read_config, rope_frequencies

    try:
        folder = open_folder(model)
        with reading(f"config.json of {folder.name}"):
            rope_frequencies(read_config(folder.config))
    except CannotLoad as error:
        return str(error)
    return None
