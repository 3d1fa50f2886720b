"""A student's folder in the form that tools older and other than the installed sentence-transformers read as well.

From 5.4 on the library writes new names of modules, a new key for the pooling, and new keys for the transformer. What
reads the old ones then fails, or, worse, does not notice: vLLM before its pull request 54533 takes the pooling for
unsaid and falls back to that of the architecture. The library itself reads the old form and gets the same model from
it, so that only the old form is written. Both forms at once would not do: before 5.4 the library hands all keys of
a file to the module, which refuses those it does not know.

Only text encoders with dense vectors have an old form; a folder with any other module is left as it is. No weight is
touched here.

Source: the old form, as sentence-transformers 2.7 to 5.3 write it; the trap, vllm-project/vllm issue 45995.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["write_for_older_tools"]

_MODULES = ("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Router")
"""Those that every version has under ``sentence_transformers.models``; ``Router`` since 5.0."""
_POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def write_for_older_tools(folder: Path) -> None:
    """Rewrite the configuration of a saved sentence-transformers model in place."""
    modules = _read(folder / "modules.json")
    routers = {file: _read(file) for file in folder.rglob("router_config.json")}
    types = [module["type"] for module in modules] + [
        name for one in routers.values() for name in one["types"].values()
    ]
    if any(name.startswith("sentence_transformers.") and name.rpartition(".")[2] not in _MODULES for name in types):
        return
    files = sorted(folder.rglob("sentence_bert_config.json"))
    if any(_read(file).get("transformer_task", "feature-extraction") != "feature-extraction" for file in files):
        return
    _write(folder / "modules.json", [module | {"type": _older_type(module["type"])} for module in modules])
    for file, router in routers.items():
        types_of = {place: _older_type(name) for place, name in router["types"].items()}
        # Some versions take no empty value of what they do not know.
        parameters = {name: value for name, value in router["parameters"].items() if value != {}}
        _write(file, router | {"types": types_of, "parameters": parameters})
    for file in files:
        longest = _read(file.with_name("tokenizer_config.json")).get("model_max_length")
        _write(file, {"max_seq_length": longest, "do_lower_case": False})
    for file in folder.rglob("config.json"):
        config = _read(file)
        if "pooling_mode" in config:
            _write(file, _older_pooling(config))
    for file in folder.rglob("tokenizer_config.json"):
        _write(file, _older_tokenizer(_read(file)))


def _older_type(name: str) -> str:
    return (
        f"sentence_transformers.models.{name.rpartition('.')[2]}" if name.startswith("sentence_transformers.") else name
    )


def _older_pooling(config: dict[str, Any]) -> dict[str, Any]:
    """Say the pooling by one flag a kind; ``include_prompt`` stands last, for some readers take the first true flag."""
    named = config["pooling_mode"]
    chosen = {named} if isinstance(named, str) else set(named)
    flags = {flag: kind in chosen for kind, flag in _POOLINGS.items()}
    return {
        "word_embedding_dimension": config["embedding_dimension"],
        **flags,
        "include_prompt": config.get("include_prompt", True),
    }


def _older_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """Name a class of tokenizers that transformers 4 knows too, and list extra tokens where it looks for them."""
    older = dict(config)
    if older.get("tokenizer_class") == "TokenizersBackend":
        older["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(older.get("extra_special_tokens"), list):
        older["additional_special_tokens"] = older.pop("extra_special_tokens")
    return older


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
