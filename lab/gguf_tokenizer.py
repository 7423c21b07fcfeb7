"""The tokenizer inside a GGUF file as the files of a model folder. No MLX.

Two kinds: "gpt2", byte-level BPE with merges, and "llama", sentencepiece BPE with scores. How text is cut before BPE
is only named in the file (`tokenizer.ggml.pre`); the patterns are those of the models' own tokenizer.json.
"""

import json
from typing import Any

from lab.errors import UserError
from lab.gguf import Header, sound

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6  # tokenizer.ggml.token_type
_CONTRACTIONS, _REST = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bytes(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


CUTS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_bytes(True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _bytes(True)],
    "llama-bpe": [_split(_LLAMA3), _bytes(False)],
    "qwen2": [_split(_QWEN2), _bytes(False)],
    # llama.cpp's own fallback for files that name nothing.
    "default": [
        _split(r"[\p{P}\$\+<=>\^~\|]+"),
        _split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
        _split(r"\p{N}+"),
        _split("[0-9][0-9][0-9]"),
        _bytes(False),
    ],
}
# Other names of the same, as in llama.cpp's llama-vocab.cpp.
ALSO = {
    **{"gpt2": "gpt-2", "olmo": "gpt-2", "starcoder": "smollm", "refact": "smollm", "command-r": "smollm"},
    **{"llama3": "llama-bpe", "llama-v3": "llama-bpe", "smaug-bpe": "llama-bpe", "deepseek-r1-qwen": "qwen2"},
}
WHOLE_FIRST = ("llama-bpe",)  # a word that is a piece is that piece, whatever its merges


def files(header: Header) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json (with the chat template), generation_config.json, by name."""
    with sound(header.path):
        return _files(header)


def _files(header: Header) -> dict[str, bytes]:
    kind, path = header.meta.get("tokenizer.ggml.model"), header.path
    tokens = header.meta.get("tokenizer.ggml.tokens")
    types = header.meta.get("tokenizer.ggml.token_type") or [1] * len(tokens or ())
    if not isinstance(tokens, list) or len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise UserError(f"{path}: its vocabulary is missing or broken; copy or download it again")
    make = {"gpt2": _byte_level, "llama": _sentencepiece}.get(str(kind))
    if make is None:
        raise UserError(f"{path}: tokenizers of type {kind} are not supported; take a model with BPE (gpt2 or llama)")
    spec = make(header, tokens, types)
    unknown = tokens[types.index(UNKNOWN)] if UNKNOWN in types else None
    spec["added_tokens"] = [
        {
            "id": i, "content": token, "special": types[i] != USER_DEFINED, "normalized": False, "lstrip": False,
            "rstrip": False, "single_word": False,
        }
        for i, token in enumerate(tokens)
        if types[i] in (CONTROL, USER_DEFINED, UNKNOWN) and token
    ]  # fmt: skip
    ids = {role: header.meta.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos", "eot", "eom", "padding")}
    for role, i in ids.items():
        if i is not None and not 0 <= i < len(tokens):
            raise UserError(
                f"{path}: its {role} token {i} is beyond the {len(tokens)} of its vocabulary; download again"
            )
    adds_bos = header.meta.get("tokenizer.ggml.add_bos_token", kind == "llama" or _pre(header) in WHOLE_FIRST)
    spec["post_processor"] = _opening(tokens, ids["bos"]) if adds_bos and ids["bos"] is not None else None
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    names = {"bos_token": ids["bos"], "eos_token": ids["eos"], "pad_token": ids["padding"]}
    config |= {name: tokens[i] for name, i in names.items() if i is not None}
    config |= {"unk_token": unknown} if unknown else {}
    if template := header.meta.get("tokenizer.chat_template"):
        config["chat_template"] = template
    ends = list(dict.fromkeys(ids[role] for role in ("eos", "eot", "eom") if ids[role] is not None))
    general = {"bos_token_id": ids["bos"], "eos_token_id": ends[0] if len(ends) == 1 else ends or None}
    general = {k: v for k, v in (general | {"pad_token_id": ids["padding"]}).items() if v is not None}
    found = {"tokenizer.json": spec, "tokenizer_config.json": config, "generation_config.json": general}
    return {name: (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode() for name, value in found.items()}


def _pre(header: Header) -> str:
    named = str(header.meta.get("tokenizer.ggml.pre", "default"))
    return ALSO.get(named, named)


def _byte_level(header: Header, tokens: list[str], types: list[int]) -> dict[str, Any]:
    pre, merges = _pre(header), header.meta.get("tokenizer.ggml.merges")
    if pre not in CUTS:
        raise UserError(
            f"{header.path}: how its tokenizer cuts text ({pre}) is not known to the lab, which knows "
            f"{', '.join([*CUTS, *ALSO])}; take its safetensors folder from the hub"
        )
    if not isinstance(merges, list):
        raise UserError(f"{header.path}: its vocabulary has no merges; copy or download it again")
    return _spec(
        tokens, merges, {"ignore_merges": pre in WHOLE_FIRST},
        normalizer={"type": "NFC"} if pre == "qwen2" else None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": CUTS[pre]},
        decoder=_bytes(True),
    )  # fmt: skip


def _sentencepiece(header: Header, tokens: list[str], types: list[int]) -> dict[str, Any]:
    """sentencepiece joins whichever neighbours make the piece of the best score; so every split of a piece is a merge,
    ranked by the piece's score."""
    scores = header.meta.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise UserError(f"{header.path}: its vocabulary has no scores; copy or download it again")
    known = {token: i for i, token in enumerate(tokens) if types[i] not in (CONTROL, USER_DEFINED, UNKNOWN, BYTE)}
    merges = []
    for piece in sorted(known, key=lambda piece: (-scores[known[piece]], known[piece])):
        splits = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in known and piece[k:] in known]
        merges += [list(pair) for pair in sorted(splits, key=lambda pair: (known[pair[0]], known[pair[1]]))]
    prefix = bool(header.meta.get("tokenizer.ggml.add_space_prefix", True))
    swap = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if prefix:
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return _spec(
        tokens, merges, {"byte_fallback": BYTE in types, "fuse_unk": True,
                         "unk_token": tokens[types.index(UNKNOWN)] if UNKNOWN in types else None},
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, swap] if prefix else [swap]},
        pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": back},
    )  # fmt: skip


def _spec(tokens: list[str], merges: list[Any], model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """tokenizer.json as an object, without added tokens."""
    plain = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    plain |= {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False} | model
    vocabulary = {"type": "BPE", **plain, "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}
    return {"version": "1.0", "truncation": None, "padding": None, **parts, "model": vocabulary}


def _opening(tokens: list[str], bos: int) -> dict[str, Any]:
    """A post-processor that puts BOS in front."""
    text = {"Sequence": {"id": "A", "type_id": 0}}
    first = {"SpecialToken": {"id": tokens[bos], "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}},
    }
