"""Which tokens of a conversation are trained, in pieces to look at: for `lab show-chat` and the window. No MLX."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.parts import ROLES
from lab.samples import Sample
from lab.tokenizer import Stream, Tokenizer


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens that are trained, or are not; or one special token. `ends`: it is the last of a turn."""

    text: str
    trained: bool
    special: bool
    tokens: int
    ends: bool = False


def pieces(tokenizer: Tokenizer, sample: Sample) -> list[Piece]:
    """A Sample in pieces, special tokens by their names. The first token of all is never trained: nothing predicts it."""
    special, stream = frozenset(tokenizer.special.values()), Stream(tokenizer, specials=True)
    roles = {tokenizer.special[f"<|{role}|>"] for role in ROLES} if tokenizer.ours else set[int]()
    found: list[Piece] = []
    for i, (token, weight) in enumerate(zip(sample.ids.tolist(), sample.weight.tolist(), strict=True)):
        text = stream.push(token) + (stream.flush() if i + 1 == len(sample.ids) else "")
        trained, own = weight != 0 and i > 0, token in special
        if token in roles and i > len(tokenizer.begin):
            found[-1] = replace(found[-1], ends=True)
        if found and not own and not found[-1].special and found[-1].trained == trained:
            found[-1] = Piece(found[-1].text + text, trained, False, found[-1].tokens + 1)
        else:
            found.append(Piece(text, trained, own, 1, token in tokenizer.ends))
    return found


def counts(found: Sequence[Piece]) -> tuple[int, int]:
    """(tokens, trained ones)."""
    return sum(p.tokens for p in found), sum(p.tokens for p in found if p.trained)
