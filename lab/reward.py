"""Reward models: a language model's body and a scalar head that scores a whole reply (Ziegler et al. 2019,
arXiv:1909.08593; Stiennon et al. 2020, arXiv:2009.01325).

The score of prompt and reply is head . h, h being what the body computes at the last real token, the reply's END. Whoever
has a reply that was cut has no END to score; such a reply wants a fixed low reward (as in lm-human-preferences), not this.

Saved as the model folder it was trained from, and beside it reward.safetensors (heads) and reward.json (gain and bias of
each member, and what it was normalised on); further members of an ensemble lie in member-1, member-2, ... Other programs
open the folder as the language model that it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import chat, device, hub, lora, weights
from lab.errors import UserError
from lab.model import Transformer
from lab.pairwise import Ranked, right_padded
from lab.parts import Message
from lab.rankings import Prompt, Ranking
from lab.runs import read_json
from lab.samples import by_length
from lab.weights import Model

VERSION = 1
HEADS, TOLD = "reward.safetensors", "reward.json"
FLAT = 1e-6  # a standard deviation of scores below this is no spread to normalise by
Rows = Sequence[np.ndarray]


def hidden(network: Any, ids: mx.array) -> mx.array:
    """What the body computes, after its last norm: ids [B, T] -> [B, T, D]. mlx-lm's classes call the part below the output
    matrix `model` (GPT-2's kin `transformer`); those that also see keep it in `language_model`."""
    if isinstance(network, Transformer):
        return network.model(ids)
    inner = getattr(network, "language_model", network)
    body = getattr(inner, "model", None) or getattr(inner, "transformer", None)
    if not callable(body):
        raise UserError(f"{type(network).__module__}: has no body that a reward head could read; take another model")
    found: mx.array = body(ids)
    return found


class Scorer(nn.Module):
    """One member: what is trained. Scores are raw, in log-odds: sigmoid(a - b) is the probability that a is better."""

    def __init__(self, network: Any, seed: int):
        super().__init__()
        self.network = network
        shape = hidden(network, mx.zeros((1, 1), mx.int32)).shape
        if len(shape) != 3:
            raise UserError(f"{type(network).__module__}: its body gives no hidden states; take another model")
        # Begun at a standard deviation of 1 / sqrt(d + 1) (as lm-human-preferences and summarize-from-feedback do). A
        # vector, not a matrix of one row: Muon, which is for matrices, would fix its length. No bias: it cancels in pairs.
        self.head = mx.random.normal((shape[-1],), scale=(shape[-1] + 1) ** -0.5, key=mx.random.key(seed))

    def __call__(self, ids: mx.array, last: mx.array) -> mx.array:
        """ids int32 [R, T], the place of each row's last token [R] -> float32 [R]. Causal: what stands behind it changes
        nothing."""
        at_end = hidden(self.network, ids)[mx.arange(ids.shape[0]), last]
        return (at_end.astype(mx.float32) * self.head).sum(-1)


@dataclass
class RewardModel:
    """Scores replies: the mean over members of gain * raw + bias, such that the policy's own samples score mean 0 and
    standard deviation 1 (as `normalise_after` of lm-human-preferences), so that a price of divergence has one meaning."""

    model: Model
    members: list[Scorer]
    gains: list[float] = field(default_factory=list)
    biases: list[float] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)  # more for reward.json

    def __post_init__(self) -> None:
        self.gains = self.gains or [1.0] * len(self.members)
        self.biases = self.biases or [0.0] * len(self.members)

    # -- what is scored ------------------------------------------------------------------------------------------------

    def encode(self, prompt: Prompt, reply: str) -> np.ndarray:
        """A reply as ids int32 [T], its END last. UserError where it does not fit into the context."""
        ids = encode(self.model, prompt, reply)
        if len(ids) > self.model.context:
            raise UserError(f"a reply of {len(ids)} tokens does not fit into the context of {self.model.context}")
        return ids

    def raw(self, rows: Rows, show: Callable[[int], None] | None = None) -> np.ndarray:
        """Raw scores float32 [members, rows]; a row's do not depend on the others. `show(done)` hears how many are."""
        found = np.zeros((len(self.members), len(rows)), np.float32)
        pad, done = self.model.tokenizer.pad or 0, 0
        for some in by_length([len(row) for row in rows]):
            done += len(some)
            ids, last = (mx.array(part) for part in right_padded([rows[i] for i in some], pad))
            for k, member in enumerate(self.members):
                found[k, some] = np.array(member(ids, last))
            if show:
                show(done)
        return found

    def each(self, rows: Rows) -> np.ndarray:
        """What every member scores, float32 [members, rows]. How far they differ is how little they know."""
        gain, bias = np.array(self.gains, np.float32)[:, None], np.array(self.biases, np.float32)[:, None]
        return gain * self.raw(rows) + bias

    def scores(self, rows: Rows) -> np.ndarray:
        """The rewards, float32 [rows]: of ids that `encode` gives, or of a prompt with a sampled reply and its END."""
        found: np.ndarray = self.each(rows).mean(0)
        return found

    def normalise(self, rows: Rows) -> None:
        """Gain and bias from samples of the policy. Members that are flat (an untrained head may be) keep a gain of 1."""
        raw = self.raw(rows).astype(np.float64)
        if not raw.size or not np.isfinite(raw).all():
            raise UserError("no samples to normalise the scores by, or scores that are no numbers")
        mean, spread = raw.mean(1), raw.std(1)
        gains = 1 / np.where(spread > FLAT, spread, 1.0)
        # The mean of several members spreads less than each of them does.
        together = (gains[:, None] * (raw - mean[:, None])).mean(0).std()
        gains = gains / (together if together > FLAT else 1.0)
        self.gains, self.biases = gains.tolist(), (-gains * mean).tolist()

    # -- on disk -------------------------------------------------------------------------------------------------------

    def save_heads(self, folder: Path) -> None:
        """reward.safetensors and reward.json."""
        weights.save_arrays(folder / HEADS, {f"head.{k}": member.head for k, member in enumerate(self.members)})
        told = {"version": VERSION, "members": len(self.members), "gains": self.gains, "biases": self.biases}
        weights.write_json(folder / TOLD, told | self.about)

    def load_heads(self, folder: Path) -> None:
        """What `save_heads` wrote; UserError where it is broken or another model's."""
        path, told = folder / HEADS, read_json(folder / TOLD)
        heads = weights.load_arrays(path)
        numbers = [told.get(name) for name in ("gains", "biases")]
        if not all(isinstance(v, list) and len(v) == len(self.members) and _numbers(v) for v in numbers):
            raise UserError(f"{folder / TOLD}: gains and biases do not fit {len(self.members)} members; copy it again")
        for k, member in enumerate(self.members):
            head = heads.get(f"head.{k}")
            if head is None or head.shape != member.head.shape:
                raise UserError(
                    f"{path}: head {k} is missing or not of width {member.head.size}; it is another model's"
                )
            member.head = head.astype(mx.float32)
        self.gains, self.biases = ([float(x) for x in v or ()] for v in numbers)
        self.about = {k: v for k, v in told.items() if k not in ("version", "members", "gains", "biases")}


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and abs(v) < 1e30 for v in values)  # NaN is not


def encode(model: Model, prompt: Prompt, reply: str) -> np.ndarray:
    """Prompt and reply as the policy reads and writes them, int32 [T]: a chat model gets messages, a base model text that
    goes on. END is the last id, as of a sampled reply."""
    tokenizer = model.tokenizer
    if not model.chats:
        if not isinstance(prompt, str):
            raise UserError(f"{model.name} is a base model and reads no messages; give prompts as text")
        joined = prompt[-1:].isspace() or reply[:1].isspace()
        text = prompt + reply if joined else f"{prompt} {reply}"
        return np.array([*tokenizer.begin, *tokenizer.encode(text), tokenizer.end], np.int32)
    messages = [*asking(prompt), Message(role="assistant", content=reply)]
    ids, weight = chat.render(tokenizer, messages)
    return np.array(ids[: int(np.flatnonzero(weight)[-1]) + 1], np.int32)  # a template may write on behind END


def ranked(model: Model, one: Ranking) -> Ranked:
    """A ranking as ids. UserError where a reply cannot be told in the model's vocabulary."""
    rows = [encode(model, one.prompt, option) for option in one.options]
    return Ranked(rows, one.pairs, len(prompt_ids(model, one.prompt)))


def asking(prompt: Prompt) -> list[Message]:
    """A prompt as messages."""
    return [Message(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)


def prompt_ids(model: Model, prompt: Prompt) -> list[int]:
    """Ids that end where the policy's reply begins."""
    if model.chats:
        return chat.prompt(model.tokenizer, asking(prompt))
    if not isinstance(prompt, str):
        raise UserError(f"{model.name} is a base model and reads no messages; give prompts as text")
    return [*model.tokenizer.begin, *model.tokenizer.encode(prompt)]


def said(model: Model, ids: Sequence[int]) -> str:
    """A sampled reply as text, without END."""
    if model.chats:
        return chat.plain(chat.parse(model.tokenizer, ids)).strip()
    return model.tokenizer.decode([i for i in ids if i not in model.tokenizer.ends]).strip()


def member_folder(folder: Path, k: int) -> Path:
    """Where the weights of member k lie."""
    return folder / f"member-{k}" if k else folder


def located(name: str) -> tuple[Path, str, int]:
    """(folder of the weights, its name as models are named, members) of a reward model by run name, run@step or folder.
    UserError for what is none. Of a run that has checkpoints the last is meant: weights and head of one moment."""
    if hub.find_gguf(name) is not None:
        raise UserError(f"{name}: a GGUF file holds no reward head; name a run of `lab reward-model`")
    folder, where = hub.locate(name)
    if where == folder and (folder / "last").is_file():
        last = (folder / "last").read_text(encoding="utf-8").strip()
        if last.isdigit() and (folder / "checkpoints" / last / TOLD).is_file():
            where, name = folder / "checkpoints" / last, f"{name}@{int(last)}"
    count = read_json(where / TOLD).get("members")
    if not isinstance(count, int) or not 1 <= count <= 64:
        raise UserError(f"{name}: is no reward model (no {TOLD} in it); `lab reward-model` makes one")
    return where, name, count


def load(name: str) -> RewardModel:
    """A reward model; see `located`."""
    where, name, count = located(name)
    models = [weights.load(name) for _ in range(count)]
    first = models[0].network
    for k, other in enumerate((model.network for model in models[1:]), 1):
        path = member_folder(where, k)
        other.update(first.parameters())  # a base under adapters is held once
        if lora.adapters(other):
            lora.fill(other, weights.load_arrays(path / "adapters.safetensors"), path / "adapters.safetensors")
        else:
            arrays = weights.load_arrays(path / "model.safetensors")
            other.load_weights([(k, v.astype(first.model.norm.weight.dtype)) for k, v in arrays.items()])
    found = RewardModel(models[0], [Scorer(model.network, 0) for model in models])
    found.load_heads(where)
    mx.eval([device.flat(member.parameters()) for member in found.members])
    return found
