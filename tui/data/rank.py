"""A person ranks: the prompt on the table, what was ranked before, and what comes next. No MLX, no Textual.

The replies come from a child process (recipes/dealing.py), the same that `lab rank` draws; rankings go into the same file."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Literal

from lab.errors import UserError
from lab.rankings import PERSON, Prompt, Ranking, Writer, held_out, key_of, new_id, read_file, row_of
from tui.data.client import Event, Process
from tui.data.rank_hand import Hand, hand_of, same, scored
from tui.data.rank_setup import Setup, keep, kept

AHEAD = 5  # prompts that wait with their replies
EVERY = 10  # after so many rankings an earlier prompt comes again
APART = 5  # and it is none of the last so many
SCORED = 200  # earlier rankings that a reward model is asked about, newest first
REWARD = "reward.json"  # what a reward model's folder has (lab/reward.py)
State = Literal["idle", "loading", "ready", "failed"]


@dataclass(frozen=True)
class Counts:
    """Where a session stands."""

    ranked: int
    pairs: int
    skipped: int
    left: int
    of: int
    seconds: float | None  # of a ranking, the median
    repeat: tuple[float, int]  # pairs that came out the same when they came again, of so many
    judge: tuple[float, int]  # pairs that the reward model never saw and puts the same way round, of so many


class Session:
    """`hear` gets the child's events, in a thread; the window gives them to `heard`. What is ranked is on the disk before
    the next prompt is shown."""

    def __init__(self, hear: Callable[[Event], None]) -> None:
        self._hear, self._session = hear, 0
        self.setup = kept()
        self.state: State = "idle"
        self.trouble, self.progress, self.note = "", "", ""
        self.name, self.of = "", 0  # the model's, and prompts in all
        self.judge, self.judge_born = "", 0.0
        self._restart()

    def _restart(self) -> None:
        self.process: Process | None = None
        self.writer: Writer | None = None
        self.mine: list[Ranking] = []  # oldest first, repeats among them
        self.now: Hand | None = None
        self.again: list[Hand] = []  # put aside by undo, the next one last
        self.ready: deque[Hand] = deque()
        self.missed, self.over = 0, False
        self.last: Ranking | None = None  # ranked in this session
        self.scores: dict[str, list[float]] = {}  # of rankings, by id
        self._asked, self._numbers = 0, 0
        self._since, self._spent = time.monotonic(), 0.0
        self._counted: tuple[object, Counts] = (None, Counts(0, 0, 0, 0, 0, None, (0, 0), (0, 0)))

    # -- begin and end -----------------------------------------------------------------------------------------------

    def begin(self, setup: Setup, judge: tuple[str, float] | None) -> None:
        """Start on it; `judge`: a reward model's name and when it was made. Failed is said in `state` and `trouble`."""
        self.end()
        self.setup, self.trouble, self.note, self.name = setup, "", "", ""
        self.judge, self.judge_born = judge or ("", 0.0)
        try:
            self.writer = Writer(setup.file)
        except UserError as error:
            self.state, self.trouble = "failed", str(error)
            return
        keep(setup)
        self.state, self.progress = "loading", f"reading {setup.model}"
        self._session += 1
        number = self._session  # what the child of an earlier session still says is not heard
        self.process = Process(lambda event: self._hear(event | {"session": number}), "recipes.dealing")
        if wrong := self.process.begin():
            self._fail(wrong)
            return
        asked = asdict(setup) | {"do": "deal", "out": str(setup.file), "data": setup.data or None}
        del asked["reward"]
        self.process.ask(asked)

    def end(self) -> None:
        """Put everything away; the file is free for others."""
        self.release()
        if self.process is not None:
            self.process.close()
        self._restart()
        self.state = "idle"

    def release(self) -> None:
        """While nobody looks, others may write, and no time passes."""
        now = time.monotonic()
        self._spent, self._since = self._spent + now - self._since, now
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def resume(self) -> None:
        """Go on: what others wrote meanwhile is read. UserError where somebody writes still."""
        self._since = time.monotonic()
        if self.writer is None and self.state in ("loading", "ready"):
            self.writer = Writer(self.setup.file)
            if self.state == "ready":
                self._read()
                self._next_if_done()

    def _fail(self, why: str) -> None:
        self.end()
        self.state, self.trouble = "failed", why

    def _read(self) -> None:
        rows = read_file(self.setup.file) if self.setup.file.exists() else []
        self.mine = [one for one in rows if one.by == PERSON and one.model == self.name]

    def _next_if_done(self) -> None:
        """Prompts that were ranked elsewhere meanwhile are none any more."""
        done = {one.key for one in self.mine}
        self.ready = deque(hand for hand in self.ready if key_of(hand.prompt) not in done)
        if self.now and not self.now.repeat and key_of(self.now.prompt) in done:
            self.now = None
            self._next()

    # -- what the child tells ----------------------------------------------------------------------------------------

    def heard(self, event: Event) -> None:
        """One event of the child."""
        what = event["event"]
        if self.process is None or event["session"] != self._session:
            return
        if what == "progress":
            share = f" {100 * event['done'] // event['total']} %" if event["total"] else ""
            self.progress = f"{event['what']}{share}"
        elif what == "opened":
            self.state, self.name, self.of, self.note = "ready", event["name"], event["of"], event["note"]
            self._read()
            self._ask_more()
            self._ask_judge()
        elif what == "dealt":
            self._dealt(event)
        elif what == "missed":
            self.missed += 1
        elif what == "over":
            self.over = True
        elif what == "judging":
            self._ask_scores()
        elif what == "scored":
            self._scored(event)
        elif what == "failed" and event["do"] == "judge":
            self.judge, self.note = "", f"reward model: {event['message']}"
        elif what in ("failed", "gone"):
            self._fail(event["message"])

    def _dealt(self, event: Event) -> None:
        self._asked -= 1
        self._numbers += 1
        hand = Hand(event["prompt"], event["options"], event["split"], number=self._numbers)
        self.ready.append(hand)
        self._ask_score(hand)
        if self.now is None:
            self._next()

    def _ask_more(self) -> None:
        """So many wait, beside the one on the table."""
        count = AHEAD + (self.now is None) - len(self.ready) - self._asked
        if self.process and count > 0 and not self.over:
            self._asked += count
            self.process.ask({"do": "more", "count": count})

    # -- the reward model --------------------------------------------------------------------------------------------

    def judge_by(self, name: str, born: float) -> None:
        """Another reward model is there."""
        if self.state == "ready" and (name, born) != (self.judge, self.judge_born):
            self.judge, self.judge_born, self.scores = name, born, {}
            for hand in [*self.ready, *self.again, *([self.now] if self.now else [])]:
                hand.scores, hand.asked = None, False
            self._ask_judge()

    def _ask_judge(self) -> None:
        if self.process and self.judge:
            self.process.ask({"do": "judge", "model": self.judge})

    def _ask_scores(self) -> None:
        """Of what waits, then of what was ranked before and never trained it."""
        for hand in [*([self.now] if self.now else []), *self.ready]:
            self._ask_score(hand)
        unseen = [one for one in reversed(self.mine) if one.pairs and not one.repeat and self.unseen(one)]
        for one in unseen[:SCORED]:
            if one.id not in self.scores:
                self._ask(one.id, one.prompt, one.options)

    def _ask_score(self, hand: Hand) -> None:
        if self.judge and not hand.asked and not hand.repeat and hand.number:
            hand.asked = True
            self._ask(hand.number, hand.prompt, hand.options)

    def _ask(self, id: str | int, prompt: Prompt, options: list[str]) -> None:
        if self.process:
            self.process.ask({"do": "score", "id": id, "prompt": prompt, "options": options})

    def _scored(self, event: Event) -> None:
        if event["scores"] is None:
            return
        if isinstance(event["id"], str):
            self.scores[event["id"]] = event["scores"]
        for hand in [*self.ready, *self.again, *([self.now] if self.now else [])]:
            if hand.number and hand.number == event["id"]:
                hand.scores = event["scores"]

    def unseen(self, one: Ranking) -> bool:
        """Whether the reward model can not have been trained on it."""
        return held_out(one) or (one.time is not None and one.time > self.judge_born)

    # -- ranking -----------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """The next prompt, if there is one."""
        self._since, self._spent = time.monotonic(), 0.0
        self.now = self.again.pop() if self.again else self._repeat()
        if self.now is None and self.ready:
            self.now = self.ready.popleft()
        self._ask_more()

    def _repeat(self) -> Hand | None:
        """An earlier prompt, where it is time for one; its replies in another order, so that no place is remembered."""
        firsts = [one for one in self.mine if one.order and not one.repeat]
        repeats = [one.repeat for one in self.mine if one.repeat]
        if len(firsts) < EVERY * (len(repeats) + 1):
            return None
        r = Random(f"repeat {self.setup.seed} {len(repeats)}")
        some = [one for one in firsts[:-APART] if one.id and one.id not in repeats]
        if not some:
            return None
        one = r.choice(some)
        options = r.sample(one.options, len(one.options))
        return Hand(one.prompt, options if options != one.options else options[::-1], one.split, one.id)

    def save(self) -> Ranking:
        """Keep the ranking of this prompt, and go on to the next. ValueError where it is not whole, UserError where the file
        cannot be written."""
        hand = self._table()
        hand.finish()
        return self._keep(hand, hand.placed, hand.ties)

    def skip(self) -> Ranking:
        """This prompt is left out for good."""
        return self._keep(self._table(), [], [])

    def _table(self) -> Hand:
        if self.now is None:
            raise ValueError("no prompt is on the table yet")
        return self.now

    def _keep(self, hand: Hand, order: list[int], ties: list[list[int]]) -> Ranking:
        if self.writer is None:
            self.resume()
        assert self.writer is not None
        seconds = self._spent + time.monotonic() - self._since
        one = Ranking(
            hand.prompt, hand.options, order, ties, new_id(), round(seconds, 3), self.name, self.setup.seed, PERSON,
            round(time.time(), 3), hand.split, repeat=hand.repeat,
        )  # fmt: skip
        self.writer.append([row_of(one)])
        self.mine.append(one)
        self.last = one if order else None
        if hand.scores is not None:
            self.scores[one.id] = hand.scores
        elif self.judge and order and not hand.repeat:
            self._ask(one.id, one.prompt, one.options)
        self._next()
        return one

    def back(self) -> None:
        """Take the last letter back; where there is none, the last ranking."""
        if self.now is None or not self.now.back():
            self.undo()

    def undo(self) -> None:
        """Take the last ranking back, also one of yesterday: it is on the table as it was placed. ValueError without one."""
        if not self.mine or self.state != "ready":
            raise ValueError("there is no ranking of yours to take back")
        if self.writer is None:
            self.resume()
        assert self.writer is not None
        one = self.mine[-1]
        self.writer.undo(one.id)
        self.mine.pop()
        self.last = None
        if self.now is not None:
            self.again.append(self.now)
        self._since, self._spent = time.monotonic(), one.seconds or 0.0
        self.now = hand_of(one)
        self._numbers += 1
        self.now = replace(self.now, number=self._numbers, scores=self.scores.pop(one.id, None))
        if self.now.scores is None:
            self._ask_score(self.now)

    # -- figures -----------------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Where it stands."""
        state = (
            len(self.mine),
            self.mine[-1].id if self.mine else "",
            len(self.scores),
            self.judge_born,
            self.of,
            self.missed,
        )
        if state != self._counted[0]:
            self._counted = (state, self._count())
        return self._counted[1]

    def _count(self) -> Counts:
        firsts = [one for one in self.mine if not one.repeat]
        ranked = [one for one in firsts if one.order]
        took = sorted(one.seconds for one in self.mine if one.seconds is not None and one.order)
        known = {one.id: one for one in firsts}
        repeats = [same(one, known[one.repeat]) for one in self.mine if one.order and one.repeat in known]
        judged = [scored(one, s) for one in ranked if (s := self.scores.get(one.id)) and self.unseen(one)]
        done = len({one.key for one in firsts})
        return Counts(
            len(ranked), sum(len(one.pairs) for one in ranked), len(firsts) - len(ranked),
            max(0, self.of - done - self.missed), self.of, took[len(took) // 2] if took else None,
            (sum(r for r, _ in repeats), sum(n for _, n in repeats)),
            (sum(r for r, _ in judged), sum(n for _, n in judged)),
        )  # fmt: skip

    def first_of(self, one: Ranking) -> Ranking | None:
        """What a repeat repeats."""
        return next((other for other in self.mine if one.repeat and other.id == one.repeat), None)
