"""Prompts with replies to rank, dealt to a window: what `lab rank` shows, as JSON lines over pipes (lab/worker.py).

`python -m recipes.dealing` reads one request a line from standard input and prints one event a line.

requests  {"do": "deal", "model", "out", "data", "prompts", "samples", "temp", "max_tokens", "seed"}    the first, as the flags
              of `lab rank`; prompts that a person has ranked in the file `out` are left out, so that it goes on
          {"do": "more", "count"}    so many prompts more; they are drawn ahead while a person ranks
          {"do": "judge", "model"}   the reward model that scores    {"do": "score", "id", "prompt", "options"}
          {"do": "quit"}
events    {"event": "progress", "what", "done", "total", "unit"}    total 0: nobody knows how long
          {"event": "opened", "name", "of", "left", "note"}    the model; prompts in all and still to rank; rows left out
          {"event": "dealt", "prompt", "options", "split"}    {"event": "over"}    no prompt is left
          {"event": "missed", "prompt"}    all its replies are the same, or cut
          {"event": "judging", "name"}    {"event": "scored", "id", "scores"}    null where a reply does not fit
          {"event": "failed", "do", "message"}    one line; the process lives on

Prompts go before scores: a person waits for those.
"""

import contextlib
import io
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import UserError
from lab.worker import Event, Pipe, talk

if TYPE_CHECKING:
    from lab.reward import RewardModel
    from recipes.ranking import Asked, Source

PROGRESS = 0.2  # seconds between two events of a download
AT_ONCE = 3  # prompts whose replies are drawn together, once the first is on the table


@dataclass(frozen=True)
class Deal:
    """What is dealt; the names are the flags of `lab rank`."""

    model: str
    out: str
    data: str | None = None
    prompts: int = 1000
    samples: int = 5
    temp: float = 1.0
    max_tokens: int = 128
    seed: int = 0


class Dealer:
    """Takes requests and works on them, prompts first; `serve` does all MLX work on one thread."""

    def __init__(self, pipe: Pipe):
        self.pipe = pipe
        self.source: Source | None = None
        self.todo: deque[Asked] = deque()
        self.wanted, self.first, self.ended = 0, True, False
        self.rm: RewardModel | None = None
        self.scores: deque[Event] = deque()
        self._told = ("", 0.0)  # the progress told last, and when

    def serve(self) -> None:
        """For ever; the pipe ends the process."""
        from lab import display

        display.listener.set(self._progress)
        while True:
            self._requests()
            try:
                if self.source is not None and self.wanted:
                    self._deal()
                elif self.rm is not None and self.scores:
                    self._score(self.rm, self.scores.popleft())
            except Exception as error:
                self.wanted = 0
                self._failed("deal", error)

    def _requests(self) -> None:
        def busy() -> object:
            return (self.source is not None and self.wanted) or (self.rm is not None and self.scores)

        self.pipe.obey(busy, self._obey, lambda request, error: self._failed(str(request.get("do")), error))

    def _obey(self, request: Event) -> None:
        what = request.get("do")
        if what == "deal":
            self._open(Deal(**{f.name: request[f.name] for f in fields(Deal) if f.name in request}))
        elif what == "more":
            self.wanted += int(request["count"])
        elif what == "judge":
            self._judge(str(request["model"]))
        elif what == "score":
            self.scores.append(request)
        else:
            raise UserError(request.get("why") or f"unknown request {str(what)[:40]!r}")

    def _failed(self, what: str, error: Exception) -> None:
        if not isinstance(error, UserError):
            traceback.print_exception(error, file=sys.stderr)
        text = " ".join(str(error).split())[:500]
        self.pipe.tell(
            "failed", do=what, message=text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        )

    def _progress(self, what: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if what == self._told[0] and now - self._told[1] < PROGRESS:
            return
        self._told = (what, now)
        self.pipe.tell("progress", what=what, done=int(done), total=int(total), unit=unit)

    def _open(self, deal: Deal) -> None:
        """Load the model; find the prompts that are still to be ranked."""
        from lab.rankings import PERSON, key_of, read_file
        from recipes.commands.generate import open_model
        from recipes.ranking import Source, prompts

        self._progress(f"reading {deal.model}", 0, 0, "")
        model, notes = open_model(deal.model, None), io.StringIO()
        with contextlib.redirect_stderr(notes):
            asked = prompts(model, deal.data, deal.prompts, deal.seed)
        out = Path(deal.out)
        rows = read_file(out) if out.exists() else []
        done = {one.key for one in rows if one.by == PERSON and one.model == model.name}
        self.todo = deque(one for one in asked if key_of(one.prompt) not in done)
        self.source = Source(model, deal.samples, deal.temp, deal.max_tokens, deal.seed)
        note = "; ".join(notes.getvalue().split("\n")).strip("; ")
        self.pipe.tell("opened", name=model.name, of=len(asked), left=len(self.todo), note=note)

    def _deal(self) -> None:
        """The next prompts: one at first, so that nobody waits for others, then a few at a time."""
        assert self.source is not None
        some = [self.todo.popleft() for _ in range(min(self.wanted, 1 if self.first else AT_ONCE, len(self.todo)))]
        if not some:
            self.wanted, told, self.ended = 0, self.ended, True
            if not told:
                self.pipe.tell("over")
            return
        self.first = False
        for one, options in zip(some, self.source.drawn(some), strict=True):
            if len(options) > 1:
                self.wanted -= 1
                self.pipe.tell("dealt", prompt=one.prompt, options=options, split=one.split)
            else:
                self.pipe.tell("missed", prompt=one.prompt)

    def _judge(self, name: str) -> None:
        from lab import reward

        self._progress(f"reading {name}", 0, 0, "")
        self.rm = reward.load(name)
        self.pipe.tell("judging", name=name)

    def _score(self, rm: "RewardModel", request: Event) -> None:
        """Mean over members, in standard deviations of the policy it was made for."""
        scores: list[Any] | None = None
        with contextlib.suppress(UserError):  # a reply that does not fit into its context
            scores = [
                round(float(s), 4) for s in rm.scores([rm.encode(request["prompt"], o) for o in request["options"]])
            ]
        self.pipe.tell("scored", id=request["id"], scores=scores)


def main() -> None:
    talk(lambda pipe: Dealer(pipe).serve())


if __name__ == "__main__":
    main()
