"""Regular expressions that freeze nothing: matched in time that grows with the text, whatever the pattern.

Python's `re` tries one way after the other: /(a+)+$/ on forty letters takes hours, and no other thread runs meanwhile. Here
all ways are walked at once, letter by letter (Thompson 1968, "Regular expression search algorithm", Communications of the
ACM 11(6), doi:10.1145/363347.363387), and what was found out for a letter is kept (Cox 2007,
https://swtch.com/~rsc/regexp/regexp1.html).
"""

import re
from collections.abc import Callable, Iterable, Iterator

MOST = 400  # states; a{100} has 100
KEPT = 20_000  # steps that are kept
END = 0  # the state in which something was found
ATOM = re.compile(r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.S)
REPEAT = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})\??")
CLASSES = "dDwWsSntrfvxu"  # letters that mean something behind a backslash

Test = Callable[[str], object]


class Pattern:
    """What `re` calls a pattern, without what looks around or back. re.error for one that is none, or that needs it."""

    def __init__(self, source: str, ignore_case: bool = False):
        try:
            re.compile(source)
        except (OverflowError, RecursionError) as error:
            raise re.error("too long") from error
        self._flags = re.IGNORECASE if ignore_case or source.startswith("(?i)") else re.RegexFlag(0)
        self._source, self._at = source, 4 if source.startswith("(?i)") else 0
        # A state waits for a letter that passes its test, or (None) is but a fork; "^" and "$" pass at the ends only.
        self._tests: list[Test | str | None] = [None]
        self._next: list[tuple[int, ...]] = [()]
        try:
            self._entry = self._either(END)
        except RecursionError as error:
            raise re.error("too long") from error
        self._sets: list[frozenset[int]] = []
        self._numbers: dict[frozenset[int], int] = {}
        self._steps: dict[tuple[int, str], int] = {}
        self._first = self._number(self._reached([self._entry], "^"))
        self._later = self._reached([self._entry])
        self._empty = END in self._reached([self._entry], "^$")
        self._whole: dict[int, bool] = {}  # whether it is found where the text ends there

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        if not text:
            return self._empty
        at, steps = self._first, self._steps
        for char in text:
            if END in self._sets[at]:
                return True
            there = steps.get((at, char))
            at = self._step(at, char) if there is None else there
        found = self._whole.get(at)
        if found is None:
            found = self._whole[at] = END in self._reached(self._sets[at], "$")
        return found

    def _step(self, at: int, char: str) -> int:
        if len(self._steps) > KEPT:
            first, here = self._sets[self._first], self._sets[at]
            self._sets, self._numbers, self._steps = [], {}, {}
            self._first, at = self._number(first), self._number(here)
            self._whole = {}
        passed = [n for s in self._sets[at] if callable(t := self._tests[s]) and t(char) for n in self._next[s]]
        there = self._steps[at, char] = self._number(self._reached(passed) | self._later)
        return there

    def _number(self, states: frozenset[int]) -> int:
        if states not in self._numbers:
            self._numbers[states] = len(self._sets)
            self._sets.append(states)
        return self._numbers[states]

    def _reached(self, states: Iterable[int], here: str = "") -> frozenset[int]:
        """These states and all behind them that take no letter; here: which of ^ and $ this place is."""
        found, new = set(states), list(states)
        while new:
            test = self._tests[state := new.pop()]
            if test is None or (isinstance(test, str) and test in here):
                fresh = [n for n in self._next[state] if n not in found]
                found.update(fresh)
                new += fresh
        return frozenset(found)

    # -- from text to states: each function reads a part and returns its first state; `out` is the state after it -------

    def _state(self, test: Test | str | None, *after: int) -> int:
        if len(self._tests) >= MOST:
            raise re.error("too long")
        self._tests.append(test)
        self._next.append(after)
        return len(self._tests) - 1

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _either(self, out: int) -> int:
        """a|b"""
        ways = [self._row(out)]
        while self._peek() == "|":
            self._at += 1
            ways.append(self._row(out))
        return ways[0] if len(ways) == 1 else self._state(None, *ways)

    def _row(self, out: int) -> int:
        """abc: read from the left, built from the right, as each state has to know the next."""
        parts = list(self._parts())
        end = self._at
        for start, low, high in reversed(parts):
            out = self._many(start, low, high, out)
        self._at = end
        return out

    def _parts(self) -> Iterator[tuple[int, int, int | None]]:
        """(where it begins, at least, at most how often) of every part up to the next | or )."""
        while (char := self._peek()) and char not in "|)":
            start, depth = self._at, 0
            while True:
                found = ATOM.match(self._source, self._at)
                assert found is not None  # "." fits anything, and `re` says that all groups end
                self._at, depth = found.end(), depth + (found[0] == "(") - (found[0] == ")")
                if not depth:
                    break
            low, high = 1, 1
            if found := REPEAT.match(self._source, self._at):
                sign, least, comma, most = found.groups()
                if sign or least or comma:
                    self._at = found.end()
                    low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(sign, (0, 0))  # type: ignore[assignment]
                    if not sign:
                        low = int(least or 0)
                        high = int(most) if most else None if comma else low
                    if self._peek() == "+":
                        raise re.error("++ is not supported here")
            yield start, low, high

    def _many(self, start: int, low: int, high: int | None, out: int) -> int:
        if high is None:
            fork = self._state(None)
            self._next[fork] = (self._again(start, fork), out)
            out = fork
        else:
            last = out
            for _ in range(high - low):
                out = self._state(None, self._again(start, out), last)
        for _ in range(low):
            out = self._again(start, out)
        return out

    def _again(self, start: int, out: int) -> int:
        self._at = start
        return self._one(out)

    def _one(self, out: int) -> int:
        """A letter, a class, a group, ^ or $."""
        source = self._source
        if self._peek() == "(":
            if source.startswith("(?", self._at) and not source.startswith("(?:", self._at):
                raise re.error("groups that begin with (? are not supported here")
            self._at += 3 if source.startswith("(?:", self._at) else 1
            inner = self._either(out)
            self._at += 1
            return self._state(None, inner)  # an empty group counts as well, or (((){99}){99}){99} would take long
        found = ATOM.match(source, self._at)
        assert found is not None
        self._at, atom = found.end(), found[0]
        if atom in ("^", "$"):
            return self._state(atom, out)
        if atom[0] == "\\" and atom[1].isalnum() and atom[1] not in CLASSES:
            raise re.error(f"{atom} is not supported here")
        special = len(atom) > 1 or atom == "."
        return self._state(re.compile(atom if special else re.escape(atom), self._flags).fullmatch, out)
