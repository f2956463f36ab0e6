"""What a start-up says when it cannot go on: one sentence, and no traceback."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch

from providers.local.engine.errors import CannotLoad
from providers.local.engine.serving import memory
from providers.local.engine.serving.assembly import build
from providers.local.engine.serving.folder import open_folder
from providers.local.options import Options
from tests.providers.local.engine.running import a_loop, asking, run


@pytest.fixture
def folder(models, tmp_path):
    return shutil.copytree(models["qwen3"][0], tmp_path / "model")


def change(folder, name="config.json", **told):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | told))


def sentence(folder, **options) -> str:
    with pytest.raises(CannotLoad) as failure:
        build(open_folder(str(folder)), Options(str(folder), **({"kv_cache_mb": 8} | options)), lambda: None)
    assert "\n" not in str(failure.value) and str(folder.parent) not in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert sentence(folder) == f"model has no {name}"


def test_a_missing_folder_is_told(tmp_path):
    assert sentence(tmp_path / "elsewhere") == "model: there is no folder elsewhere"


def test_weights_that_are_pickles_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickle" in sentence(folder)


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights" in sentence(folder)


def test_a_shard_that_its_index_names_and_nobody_brought(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00001.safetensors"}}))
    assert "model-00001.safetensors" in sentence(folder)


def test_weights_cut_short(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "model.safetensors of model cannot be read" in sentence(folder)


def test_weights_of_another_model(folder):
    change(folder, num_hidden_layers=3)
    assert "model.layers.2" in sentence(folder)


def test_code_of_its_own_is_refused(folder):
    change(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    assert "auto_map" in sentence(folder)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"architectures": None}, "none named"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"use_sliding_window": True}, "sliding"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2}}, "dynamic"),
    ],
)
def test_what_the_engine_does_not_know_is_named(folder, told, word):
    change(folder, **told)
    assert word in sentence(folder)


def test_broken_json_is_told(folder):
    (folder / "config.json").write_text("{")
    assert "config.json of model cannot be read" in sentence(folder)


def test_no_chat_template(folder):
    change(folder, "tokenizer_config.json", chat_template=None)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert "chat template" in sentence(folder)


@pytest.mark.parametrize("told", [[1], [{"name": "default"}], [{"name": "other", "template": "x"}], 7])
def test_chat_templates_none_of_which_is_one(folder, told):
    change(folder, "tokenizer_config.json", chat_template=told)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert sentence(folder).startswith("model has no chat template")


def test_only_the_files_that_transformers_would_read_are_the_weights(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * 0 for name, tensor in tensors.items()}, folder / "older.safetensors")
    save_file({"tok_embeddings.weight": torch.zeros(2, 2)}, folder / "consolidated.safetensors")
    assert [path.name for path in open_folder(str(folder)).weight_files] == ["model.safetensors"]
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    assert sentence(folder) == "model has no weights: neither model.safetensors nor an index of several"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    assert [path.name for path in open_folder(str(folder)).weight_files] == ["part.safetensors"]


def test_a_chat_template_that_is_none(folder):
    change(folder, "tokenizer_config.json", chat_template="{% if %}")
    assert "chat template of model cannot be read" in sentence(folder)


def test_a_model_too_large_for_the_machine(folder, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100 << 20)
    assert "does not fit" in sentence(folder)


@pytest.mark.parametrize(
    ("limit", "left"), [("max", None), (4 << 30, (4 << 30) - (3 << 30) + (2 << 30)), (1 << 50, None)]
)
def test_files_that_a_container_has_read_do_not_count_as_memory_that_is_taken(monkeypatch, tmp_path, limit, left):
    """A model's weights fill the page cache, which the kernel gives up for whoever wants memory."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = memory.free_bytes(torch.device("cpu"))
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{3 << 30}\n")
    (tmp_path / "memory.stat").write_text(f"anon {1 << 30}\nfile {2 << 30}\ninactive_file {2 << 30}\nactive_file 0\n")
    free = memory.free_bytes(torch.device("cpu"))
    assert free == left if left and left < machine else abs(free - machine) < 1 << 30


def test_a_cache_too_large_for_the_machine(folder):
    assert "kv_cache_mb" in sentence(folder, kv_cache_mb=1 << 40)


@pytest.mark.parametrize("told", [-1, 0, 1, 13])
def test_a_context_without_room_for_the_shortest_prompt(folder, told):
    assert sentence(folder, max_context=told) == (
        f"max_context: must be more than 13, the shortest prompt of model, got {told}"
    )


def test_a_context_longer_than_the_model_was_made_for(folder):
    assert sentence(folder, max_context=513) == "max_context: must be at most 512, the context of model, got 513"


def test_a_cache_that_holds_no_prompt(folder):
    assert "the KV cache would hold" in sentence(folder, kv_cache_mb=0)


@pytest.mark.parametrize("device", ["cuda:31", "tpu", "meta"])
def test_a_device_that_is_not_there(folder, device):
    assert device in sentence(folder, device=device)


def test_the_cache_bounds_the_context_and_start_up_says_what_it_loads(folder, caplog):
    caplog.set_level(logging.INFO)
    _, planned = build(open_folder(str(folder)), Options(str(folder), max_context=100, kv_cache_mb=1), lambda: None)
    assert planned.max_context == 100
    assert (
        "Qwen3ForCausalLM" in caplog.text
        and "float32 on cpu" in caplog.text
        and "sequences of 100 tokens" in caplog.text
    )


def test_auto_takes_bfloat16_on_a_cpu_only_where_it_is_multiplied_and_the_model_is_large(models, monkeypatch):
    from dataclasses import replace

    from providers.local.engine.compute.config import read_config

    small = read_config(open_folder(str(models["qwen3"][0])).config)
    large = replace(small, hidden=2048, intermediate=8192, layers=24)
    for multiplies in (True, False):
        monkeypatch.setattr(memory, "_multiplies_bf16", lambda multiplies=multiplies: multiplies)
        cpu = torch.device("cpu")
        assert memory.choose_dtype("auto", cpu, small) == torch.float32
        assert memory.choose_dtype("auto", cpu, large) == (torch.bfloat16 if multiplies else torch.float32)
    assert memory.choose_dtype("float16", cpu, small) == torch.float16


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"hidden_size": 72}, "must have shape"),
        ({"num_attention_heads": 8}, "must have shape"),
        ({"num_key_value_heads": 3}, "must have shape"),
        ({"vocab_size": 500}, "must have shape"),
        ({"vocab_size": 300}, "vocab_size must be more than the tokeniser's largest token, 399, got 300"),
        ({"num_hidden_layers": 1}, "model.layers.1"),
        ({"num_attention_heads": "4"}, 'config.json: num_attention_heads must be a positive number, got "4"'),
        ({"num_attention_heads": 0, "head_dim": None}, "num_attention_heads must be a positive number, got 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers must be a positive number, got -1"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers must be a whole number, got 2.5"),
        ({"rms_norm_eps": None}, "rms_norm_eps must be a positive number, got null"),
        ({"rope_parameters": {"rope_theta": None}}, "rope_theta must be a positive number, got null"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "config.json: factor is missing"),
        ({"rope_parameters": {"rope_type": "linear", "factor": None}}, "factor must be a positive number, got null"),
    ],
)
def test_a_configuration_that_is_not_the_weights(folder, told, words):
    change(folder, **told)
    assert words in sentence(folder)


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        ({"eos_token_id": "x"}, "eos_token_id"),
        ({"do_sample": True, "temperature": 9.0}, "temperature"),
        ({"do_sample": True, "top_p": 0.0}, "top_p"),
        ({"do_sample": True, "top_k": 20.5}, "top_k"),
        ({"do_sample": True, "top_k": float("nan")}, "top_k"),
        ({"max_new_tokens": True}, "max_new_tokens"),
    ],
)
def test_odd_values_of_a_generation_configuration_are_left_out_and_named(folder, odd, name, caplog):
    (folder / "generation_config.json").write_text(json.dumps(odd | {"repetition_penalty": 1.1}))
    opened = open_folder(str(folder))
    assert name not in opened.generation and opened.generation["repetition_penalty"] == 1.1
    assert name in caplog.text
    assert run(a_loop(folder), [asking("x", temperature=None, max_tokens=2)])[0].completion_tokens > 0


def test_a_file_and_an_adapter_are_named_for_what_they_are(folder, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert sentence(tmp_path / "x.gguf").startswith("model: x.gguf is a GGUF file; ")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert sentence(tmp_path / "adapter").startswith("adapter is a LoRA adapter")
    change(folder, architectures=["Unheard"])
    for refused in (tmp_path / "x.gguf", tmp_path / "adapter", folder):
        assert "type openai" in sentence(refused)


def test_a_cpu_without_avx512_serves_a_bfloat16_model(folder, monkeypatch, caplog):
    from providers.local.engine.compute import torch_private

    monkeypatch.setattr(memory, "packs_bfloat16", lambda: False)
    monkeypatch.setattr(torch_private, "packs_bfloat16", lambda: False)
    _, planned = build(open_folder(str(folder)), Options(str(folder), dtype="bfloat16", kv_cache_mb=1), lambda: None)
    assert planned.dtype == torch.float32 and "AVX-512" in caplog.text
    monkeypatch.setattr(memory, "free_bytes", lambda device: (256 << 20) + planned.weight_bytes)
    small = {"dtype": "bfloat16", "kv_cache_mb": None, "max_context": 64}
    loop, planned = build(open_folder(str(folder)), Options(str(folder), **small), lambda: None)
    assert planned.dtype == torch.bfloat16
    assert run(loop, [asking("x", max_tokens=4)])[0].completion_tokens > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: tensor.to(torch.int8), "torch.int8"),
        (lambda tensor: tensor * float("nan"), "not numbers"),
        (lambda tensor: tensor[:-8].clone(), "must have shape"),
    ],
)
def test_weights_that_are_no_plain_numbers_or_of_another_shape(folder, change, words):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] = change(tensors["model.layers.1.mlp.up_proj.weight"])
    save_file(tensors, folder / "model.safetensors")
    assert words in sentence(folder)


def test_an_index_without_a_map_and_a_configuration_that_is_a_folder(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": null}')
    assert "index.json of model cannot be read" in sentence(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert sentence(folder) == "config.json of model cannot be read: Is a directory"


def test_the_device_is_the_current_one_before_anything_is_launched_on_it(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert chosen == [memory.choose_device("cuda:1")] == [torch.device("cuda:1")]
