"""Text to token ids and back: our own sentencepiece BPE, or any Hugging Face BPE tokenizer, behind one class.

Special tokens are ids, never text: no string given to `encode` can yield one (`encode_template`, for text that a
template's author wrote, can). With ours every Unicode text comes back exactly as it went in.
A folder saved by us gives `tokenizers`, transformers and mlx_lm the same ids on every text that spells no special;
where a text does spell one ("<|end|>"), they yield the special's id and we do not. That difference is meant.
"""

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.vocabulary import (
    ESCAPE,
    FIRST_LEARNED,
    SPECIALS,
    HuggingFace,
    Ours,
    is_ours,
    parse_json,
    text_from_bytes,
    train_model,
    unescape,
    unused,
)

__all__ = ["Stream", "Tokenizer", "text_from_bytes"]

# What decides how a model folder's text becomes ids.
FILES = (
    "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json",
    "chat_template.jinja",
)  # fmt: skip
# Chat models end a turn with one of these; many a folder names only the one that ends a text, and the model talks on.
ENDERS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<|end|>")


class Stream:
    """Decodes ids one at a time; `push` returns only text that later ids cannot change."""

    def __init__(self, tokenizer: "Tokenizer", specials: bool = False) -> None:
        self._tokenizer, self._specials = tokenizer, specials
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._held, self._at_start = "", True

    def push(self, token: int) -> str:
        """The text that has become final with this id; "" while a character is incomplete."""
        return self._text(self._utf8.decode(self._tokenizer.shown(token, self._specials)), final=False)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an incomplete character."""
        return self._text(self._utf8.decode(b"", final=True), final=True)

    def _text(self, new: str, final: bool) -> str:
        text, self._held = self._held + new, ""
        if not final and self._tokenizer.core.escapes and text.endswith(ESCAPE):
            text, self._held = text[:-1], ESCAPE
        if not text:
            return ""
        text, self._at_start = self._tokenizer.finish(text, self._at_start), False
        return text


class Tokenizer:
    """Ids, text and special tokens of one vocabulary: `Tokenizer.load(folder)` or `Tokenizer.train(texts, size)`.

    `special` maps names of special tokens to ids; an id in `ends` ends a text or turn; `bos` opens a text where
    `adds_bos`. `marks` names tokens that were given a use (think, search, code, result): what opens it, what closes it.
    `chat_template` may be set, and is then saved. `offered` are the tools that prompts describe. `fingerprint` is a hash
    of all that decides a text's ids: fit as the key of a cache of encoded text.
    """

    def __init__(
        self,
        core: Ours | HuggingFace,
        name: str,
        *,
        bos: int | None = None,
        ends: Sequence[int] = (),
        pad: int | None = None,
        chat_template: str | None = None,
        files: dict[str, bytes] | None = None,
        marks: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        self.core, self.name, self.chat_template = core, name, chat_template
        self._template, self.marks = chat_template, marks or {}
        self.offered: tuple[str, ...] = ()  # see lab.hub_chat.offering
        self.vocab_size, self.special = len(core.table), dict(core.special)
        self.bos, self.pad = bos, pad
        self.ends, self._ends, self._files = frozenset(ends), list(ends), files or {}
        self.fingerprint = hashlib.sha256(core.data + repr(self.special).encode()).hexdigest()

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Train BPE on `texts`; `vocab_size` counts everything, the 256 bytes, 30 specials and UNK included.

        The same texts give the same bytes. UserError when the texts are empty, or too small for that many pieces.
        """
        corpus = list(texts)
        if vocab_size <= (least := FIRST_LEARNED + len(SPECIALS)):
            raise UserError(f"vocabulary size {vocab_size}: bytes and specials alone take {least}; mend: ask for more")
        model = train_model(corpus, vocab_size - len(SPECIALS))
        if isinstance(model, bytes):
            return cls._ours(model, "trained")
        while isinstance(smaller := train_model(corpus, model), int):  # fewer pieces leave room for fewer characters
            model = smaller
        most = model + len(SPECIALS)
        raise UserError(f"vocabulary size {vocab_size}: this text gives {most} at most; mend: {most}, or more text")

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read a model folder: tokenizer.model if it is ours, else tokenizer.json. UserError names what is wrong."""
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; mend: name a model folder (lab runs lists those of the lab)")
        files = {name: data for name in FILES if (data := _read(folder / name)) is not None}
        return cls.from_files(files, folder.resolve().name, str(folder))

    @classmethod
    def from_files(cls, files: dict[str, bytes], name: str, source: str) -> "Tokenizer":
        """The tokenizer in the files (by name, those of `FILES`) of a model folder; errors name `source`/file."""
        template = files.get("chat_template.jinja")
        jinja = None if template is None else text_from_bytes(template, f"{source}/chat_template.jinja")
        model, data = files.get("tokenizer.model"), files.get("tokenizer.json")
        if model is not None and (data is None or is_ours(model)):
            return cls._ours(model, name, f"{source}/tokenizer.model", jinja)
        if data is None:
            raise UserError(f"{source}: holds neither tokenizer.json nor tokenizer.model; mend: name a model folder")
        core = HuggingFace(data, f"{source}/tokenizer.json")
        return cls(core, name, **_settings(source, core, files, jinja))

    @classmethod
    def _ours(cls, model: bytes, name: str, source: str = "tokenizer.model", jinja: str | None = None) -> "Tokenizer":
        core = Ours(model, source)
        bos, end, pad = (core.special[f"<|{key}|>"] for key in ("bos", "end", "pad"))
        return cls(core, name, bos=bos, ends=[end], pad=pad, chat_template=jinja)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.model (ours), tokenizer.json and tokenizer_config.json, each beside and then renamed."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in self.files().items():
                beside = folder / f".{name}.{os.getpid()}"
                try:
                    beside.write_bytes(data)
                    os.replace(beside, folder / name)
                finally:
                    beside.unlink(missing_ok=True)
        except OSError as e:
            raise UserError(
                f"{folder}: cannot save the tokenizer ({e.strerror}); mend: free space or name another"
            ) from e

    def files(self) -> dict[str, bytes]:
        """What `save` writes, by name."""
        files = dict(self._files or self.core.files())
        if self.chat_template is not None and (self.ours or self.chat_template != self._template):
            files["chat_template.jinja"] = self.chat_template.encode()
        if self.marks:
            config = json.loads(files.get("tokenizer_config.json", b"{}"))
            config["lab_marks"] = {name: list(pair) for name, pair in self.marks.items()}
            files["tokenizer_config.json"] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
        return files

    @property
    def reserved(self) -> bool:
        """Whether tokens of a hub vocabulary were given a use, so that their embeddings have yet to be learnt."""
        return bool(self.marks)

    def reserve(self) -> bool:
        """Give unused special tokens of a hub vocabulary to the thoughts, calls and results it has no tokens for; `save`
        keeps which. False, and nothing is given, where too few are free (`lab import --tool-tokens` adds some)."""
        missing, free = self.missing(), unused(self.core, self._taken()) if not self.ours else []
        if len(free) < 2 * len(missing):
            return False
        self.mark({name: (free[2 * i], free[2 * i + 1]) for i, name in enumerate(missing)})
        return True

    def mark(self, pairs: dict[str, tuple[str, str]]) -> None:
        """Give these special tokens a use, by name; from now on they show nothing in text."""
        self.marks |= pairs
        self.core.hidden |= {self.special[name] for pair in pairs.values() for name in pair}

    def missing(self) -> list[str]:
        """The uses (think, search, code, result) for which this vocabulary has no tokens."""
        from lab.marks import NAMES, marks  # it imports this module

        found = marks(self)
        return [name for name in NAMES if getattr(found, name) is None]

    def _taken(self) -> set[int]:
        """Ids of specials that have a use already."""
        known = [self.bos, self.pad, *self.ends, *(self.special[name] for pair in self.marks.values() for name in pair)]
        inside = [i for name, i in self.special.items() if name in (self.chat_template or "")]
        return {i for i in (*known, *inside) if i is not None}

    @property
    def ours(self) -> bool:
        """Whether we trained it, so that its roles are ids of ours; a foreign one may use the same names otherwise."""
        return isinstance(self.core, Ours)

    @property
    def adds_bos(self) -> bool:
        """Whether a text is meant to open with `bos`; many Hugging Face tokenizers name one and never use it."""
        return self.bos is not None and self.core.opens_with(self.bos)

    @property
    def begin(self) -> list[int]:
        """The ids a text of its own opens with: [bos], or nothing where the model was not trained with one."""
        return [self.bos] if self.bos is not None and self.adds_bos else []

    @property
    def end(self) -> int:
        """The id that ends a turn or text. UserError when a foreign folder names none."""
        if not self._ends:
            raise UserError(f'{self.name}: no end token; mend: name one as "eos_token" in its tokenizer_config.json')
        return self._ends[0]

    def encode(self, text: str) -> list[int]:
        """Ids of the text. No special token can come out, whatever the text. UserError for a lone surrogate."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, faster for many short ones."""
        for text in texts:
            _reject_surrogates(text)
        return self.core.encode(list(texts))

    def encode_part(self, text: str) -> list[int]:
        """Ids of a text that is a part of a conversation. Ours begins with a space, as every word inside a text does: what
        a base model knows it knows of " Paris", and "Paris" is another token that it hardly ever read."""
        return self.encode(" " + text if self.ours else text)

    def decode_part(self, ids: Sequence[int]) -> str:
        """The text of such ids, without that space."""
        text = self.decode(ids)
        return text.removeprefix(" ") if self.ours else text

    def encode_template(self, text: str) -> list[int]:
        """Ids of text in which "<|user|>" means the token: pieces of a chat template, never what a user typed."""
        _reject_surrogates(text)
        return self.core.encode_template(text)

    def decode(self, ids: Iterable[int], specials: bool = False) -> str:
        """The text of the ids, the inverse of `encode`. Special tokens are left out, or named where `specials`."""
        return self.finish(b"".join(self.shown(i, specials) for i in ids).decode("utf-8", "replace"), at_start=True)

    def stream(self, specials: bool = False) -> Stream:
        """A decoder for ids that arrive one at a time."""
        return Stream(self, specials)

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; of a special its name, of an id beyond the vocabulary (padding rows) none."""
        return self.core.table[token] if 0 <= token < self.vocab_size else b""

    def piece(self, token: int) -> str:
        """How to show a token: its text, "<|user|>" for a special, \\xNN for bytes that are no whole character."""
        return self.token_bytes(token).decode("utf-8", "backslashreplace") or f"<|{token}|>"

    def shown(self, token: int, specials: bool) -> bytes:
        """The bytes a token adds to decoded text: none for a special, unless `specials`."""
        return b"" if token in self.core.hidden and not specials else self.token_bytes(token)

    def finish(self, text: str, at_start: bool) -> str:
        """Undo what encoding did to the text: our escapes, or the space some sentencepiece models put in front."""
        if at_start and self.core.strip_first:
            text = text.removeprefix(" ")
        return unescape(text) if self.core.escapes else text


def _reject_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        code = f"U+{ord(text[e.start]):04X}"
        raise UserError(f"text: character {e.start} ({code}) is half of a surrogate pair; mend: remove it") from None


def _read(path: Path) -> bytes | None:
    """The bytes of a file, None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror}); mend: check the path and its permissions") from None


def _settings(source: str, core: HuggingFace, files: dict[str, bytes], jinja: str | None) -> dict[str, Any]:
    """What tokenizer_config.json, generation_config.json and config.json say of special tokens, and files to copy."""
    names = ("tokenizer_config.json", "generation_config.json", "config.json")
    own, *configs = (parse_json(files.get(name, b"{}"), f"{source}/{name}") for name in names)

    def ids(role: str) -> list[int]:
        """The ids of one role, best source first; a config's eos_token_id may be a list."""
        named = own.get(role)
        named = named.get("content") if isinstance(named, dict) else named
        values = [core.ids.get(named) if isinstance(named, str) else None]  # null names none, and "None" is a word
        for value in (config.get(f"{role}_id") for config in configs):
            values += value if isinstance(value, list) else [value]
        return [i for i in values if isinstance(i, int)]

    ends, bos, pad = ids("eos_token"), next(iter(ids("bos_token")), None), next(iter(ids("pad_token")), None)
    if ends:
        ends += [core.special[name] for name in ENDERS if core.special.get(name) in core.hidden]
    for i in (*ends, bos, pad):
        if i is not None and not 0 <= i < len(core.table):
            raise UserError(
                f"{source}: config names token id {i}, tokenizer.json has {len(core.table)}; mend: copy both anew"
            )
    template = jinja if jinja is not None else own.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}.get("default")
    if template is not None and not isinstance(template, str):
        raise UserError(f"{source}/tokenizer_config.json: chat_template is no text; mend: copy the file again")
    marks = _marks(own.get("lab_marks"), core, f"{source}/tokenizer_config.json")
    kept = {"tokenizer.json": core.data} | {name: files[name] for name in names[:1] if name in files}
    if jinja is not None:
        kept["chat_template.jinja"] = jinja.encode()
    said = {"bos": bos, "ends": list(dict.fromkeys(ends)), "pad": pad, "chat_template": template, "files": kept}
    return said | {"marks": marks}


def _marks(given: Any, core: HuggingFace, source: str) -> dict[str, tuple[str, str]]:
    """The pairs of "lab_marks", whose tokens show nothing in text."""
    if given is None:
        return {}
    pairs = given.items() if isinstance(given, dict) else [("", None)]
    for name, pair in pairs:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or any(not isinstance(t, str) or t not in core.special for t in pair)
        ):
            raise UserError(f"{source}: lab_marks {name!r}: give two special tokens of this vocabulary")
    core.hidden |= {core.special[token] for pair in given.values() for token in pair}
    return {name: (pair[0], pair[1]) for name, pair in given.items()}
