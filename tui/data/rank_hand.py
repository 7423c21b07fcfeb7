"""One prompt with its replies, as a person puts them in order, and how far two orders agree. No MLX, no Textual."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lab.letters import LETTERS
from lab.rankings import Prompt, Ranking


@dataclass
class Hand:
    """A prompt with its replies, as far as it is ranked: `groups` best first, those within one equally good."""

    prompt: Prompt
    options: list[str]
    split: Literal["train", "test"] | None = None
    repeat: str = ""  # the ranking that this is asked once more for
    groups: list[list[int]] = field(default_factory=list)
    joined: bool = False  # the next one is as good as the last
    scores: list[float] | None = None
    number: int = 0
    asked: bool = False  # for its scores

    @property
    def placed(self) -> list[int]:
        """In order, best first."""
        return [i for group in self.groups for i in group]

    @property
    def missing(self) -> list[int]:
        return [i for i in range(len(self.options)) if i not in self.placed]

    @property
    def ties(self) -> list[list[int]]:
        return [group for group in self.groups if len(group) > 1]

    def place(self, option: int) -> None:
        """The next best is this one; one that is placed is taken out again."""
        if not 0 <= option < len(self.options):
            raise ValueError(f"{LETTERS[option]} is no option; letters are {' '.join(LETTERS[: len(self.options)])}")
        if option in self.placed:
            self.groups = [rest for group in self.groups if (rest := [i for i in group if i != option])]
        elif self.joined and self.groups:
            self.groups[-1].append(option)
        else:
            self.groups.append([option])
        self.joined = False

    def tie(self) -> None:
        """The next letter is as good as the last one; or no longer."""
        if not self.groups:
            raise ValueError("= stands between two letters that are equally good: first the better ones")
        self.joined = not self.joined and bool(self.missing)

    def alike(self) -> None:
        """None is better than another."""
        self.groups, self.joined = [list(range(len(self.options)))], False

    def back(self) -> bool:
        """Take the last sign back; False where there is none."""
        if self.joined:
            self.joined = False
        elif self.groups:
            self.groups[-1].pop()
            self.groups = [group for group in self.groups if group]
        else:
            return False
        return True

    def finish(self) -> None:
        """The last one left is the worst. ValueError where more are left."""
        left = self.missing
        if len(left) > 1:
            raise ValueError(f"still to place, best first: {' '.join(LETTERS[i] for i in left)}")
        if left:
            self.place(left[0])
        self.joined = False


def hand_of(one: Ranking) -> Hand:
    """A ranking on the table again, as it was placed."""
    group = {place: tied for tied in one.ties for place in tied}
    groups: list[list[int]] = []
    for place in one.order:
        if groups and place in group and groups[-1][0] in group[place]:
            groups[-1].append(place)
        else:
            groups.append([place])
    return Hand(one.prompt, list(one.options), one.split, one.repeat, groups)


def levels(one: Ranking) -> dict[str, int]:
    """Of each ranked reply's text its level, 0 best; ties share one."""
    return {one.options[i]: level for level, group in enumerate(hand_of(one).groups) for i in group}


def same(one: Ranking, other: Ranking) -> tuple[float, int]:
    """(pairs on which two rankings of the same replies agree, pairs). A pair that one of them alone ties counts half."""
    a, b = levels(one), levels(other)
    both = [text for text in a if text in b]
    right, count = 0.0, 0
    for i, x in enumerate(both):
        for y in both[i + 1 :]:
            signs = [(level[x] > level[y]) - (level[x] < level[y]) for level in (a, b)]
            right += 1.0 if signs[0] == signs[1] else 0.5 if 0 in signs else 0.0
            count += 1
    return right, count


def scored(one: Ranking, scores: Sequence[float]) -> tuple[float, int]:
    """(pairs that these scores put the same way round, pairs); equal scores are half right."""
    pairs = one.pairs
    return sum((scores[a] > scores[b]) + 0.5 * (scores[a] == scores[b]) for a, b in pairs), len(pairs)
