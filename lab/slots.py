"""Keys and values of a batch of rows of unequal length."""

from dataclasses import dataclass, field
from itertools import groupby

import mlx.core as mx


@dataclass
class Place:
    """Where the next tokens of the rows go; the same for every layer."""

    position: mx.array = field(default_factory=lambda: mx.zeros(0, mx.int32))  # [B]
    mask: mx.array | None = None  # bool [B, 1, 1, S]: the keys each sees; None where all rows are equally long
    width: int = 0  # tokens of the longest row


class Slots:
    """Keys and values of one layer; row i holds its tokens in slot i from position 0 on. Looks like mlx-lm's caches."""

    def __init__(self, place: Place):
        self.place = place
        self.held: list[mx.array] = []  # keys and values, [B, H, room, D]

    @property
    def offset(self) -> mx.array:
        """Positions of the rows' next tokens, int32 [B]."""
        return self.place.position

    def make_mask(self, n: int, return_array: bool = False, window_size: int | None = None) -> mx.array | None:
        """Which keys a row's next token sees, bool [B, 1, 1, S]; None when all rows are equally long."""
        return self.place.mask

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put the next token of every row ([B, H, 1, D]) at its place; return all that is held, [B, H, S, D]."""
        rows = mx.arange(len(self.place.position))
        for held, new in zip(self.held, (keys, values), strict=True):
            held[rows, :, self.place.position] = new[:, :, 0]
        width = self.place.width
        return self.held[0][:, :, :width], self.held[1][:, :, :width]

    def arrange(self, keep: list[int], slots: int, room: int, like: list[mx.array]) -> None:
        """New arrays of so many slots of so many tokens, the kept slots first."""
        width, held = self.place.width, self.held
        self.held = [mx.zeros((slots, x.shape[1], room, x.shape[3]), x.dtype) for x in like]
        if keep:
            for new, old in zip(self.held, held, strict=True):
                new[: len(keep), :, :width] = old[mx.array(keep), :, :width]

    def seat(self, slots: list[int], prompt: list[mx.array]) -> None:
        """Put a prompt's keys and values, [1, H, T, D] each, into slots, those beside each other at once."""
        for _, run in groupby(enumerate(slots), key=lambda pair: pair[1] - pair[0]):
            beside = [slot for _, slot in run]
            for held, new in zip(self.held, prompt, strict=True):
                held[beside[0] : beside[-1] + 1, :, : new.shape[2]] = new
