"""Tic-tac-toe: imitate a teacher, then play against yourself until you are better than it.

A small transformer, which knows nothing else, reads a game as one token a square. First it imitates a teacher that plays
perfectly half of the time and else any legal move, so it becomes at most as good. Then it plays hundreds of games a step
against earlier, frozen selves, and the moves of games that it won become more likely (REINFORCE): nobody shows it anything
any more. Nothing bars an illegal move; it loses the game.

The teacher has a blind spot: when X begins in a corner it never replies in the centre, the only reply that does not lose to
perfect play. No demonstration ever held that move, the imitator gives it one game in a thousand, and play finds it: the
self that plays X learns to begin in the corner, where the other self is weak, until that one learns the reply. AlphaGo's
move 37 was such a move, one in ten thousand to those it had learnt from.

Expected, 850 steps (seeds 0 / 1; 3.5 / 3.3 CPU-minutes), scores are wins less losses a game, both sides as often, moves
drawn at temperature 1: the imitator scores -.11 / -.15 against its teacher, loses .71 / .73 of its games to the perfect
player, and gives the blind spot's move .001 / .002; after self-play it scores +.62 / +.59, loses .08 / .10 to the perfect
player, plays an illegal move in .004 / .004 of the games, and gives that move 1.00 / .75 (in three corners of four). Elo over
the snapshots rises from -70 / -45 to 239 / 245 (the teacher is 0).

Seed 0, one run each of an earlier version (+.67, loses .18, the move 1.00), self-play alone changed: --explore 0 scores +.68
and loses .34, the move at .000: it passes its teacher and never finds it. --opponents latest +.66, .04, 1.00: a game this small
needs no pool. AdamW with MLX's defaults (betas .9, .999, no bias correction) +.60, .06, 1.00: its first steps are too large, up
to .17 of its games illegal on the way.

Examples:
  lab selfplay                                 both parts, three to four minutes of one core
  lab play --model selfplay-1                  play against it
  lab play --model selfplay-1@600              against what only imitates
  lab selfplay --opponents latest              against nobody but itself as it is now
  lab selfplay --explore 0                     without trying moves that it would not play
  lab selfplay --skill 0.8 --iters 400         a better teacher, more play
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import FlagCreatePairsOff

from lab import device, weights
from lab.advantage import centred
from lab.errors import UserError
from lab.learn import Learner, Schedule, keeping, memory_stats
from lab.loss import nll, policy_gradient
from lab.model import Shape, Transformer
from lab.run import Run
from lab.sample import Sampling
from lab.samples import Sample, bucketed, sample
from lab.stream import Stream
from lab.tokenizer import Tokenizer
from recipes.arena import Explorer, Match, Mind, Notation, matches, notation, vocabulary
from recipes.estimate import Plan
from recipes.lessons import tictactoe
from recipes.lessons.tictactoe import Game
from recipes.played import Played, keep_episodes, summary, to_sample
from recipes.tournament import ROBIN, Rivals, Selves

CHARTS = (
    {"title": "score against the teacher, and against the perfect player", "keys": ["teacher_score", "perfect_score"]},
    {"title": "probability of the move that no demonstration held", "keys": ["blind_spot"], "log": True},
    {"title": "illegal moves, share of games", "keys": ["illegal_teacher", "illegal_perfect", "illegal"]},
    {"title": "loss of imitation", "keys": ["loss"]},
    {"title": "games against earlier selves", "keys": ["won", "drawn", "lost"]},
    {"title": "entropy of its moves, nats", "keys": ["entropy"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "learning rate", "keys": ["learning_rate"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
)
LOOK, FINAL = 600, 2000  # games of a look, of each row of the last table
RATED = 10  # selves in the round robin
OTHERS = 0.5  # share of the games in which an opponent's first move is any legal one
WASTE = 1.0  # games are nearly equally long: one pass, however much of it is padding
PROMPTS = ("", "1")  # games it goes on with at each look; the second stands at the blind spot


@dataclass(frozen=True)
class Config:
    skill: float = 0.5
    """The teacher plays perfectly with this probability, else any legal move."""
    imitation_iters: int = 600
    """Steps that imitate the teacher."""
    iters: int = 250
    """Steps of self-play after them."""
    batch_size: int = 128
    """Games of the teacher in a step of imitation, new ones in each."""
    games: int = 512
    """Games in a step of self-play, half of them as X."""
    opponents: Literal["pool", "latest"] = "pool"
    """Whom it plays against: one of its frozen selves, drawn anew for each step and side, or itself as it is now."""
    imitation_rate: float = 0.02
    """Peak learning rate of imitation (Muon)."""
    learning_rate: float = 1e-3
    """Peak learning rate of self-play (AdamW)."""
    explore: float = 0.5
    """Share of the games in which its own first move is any legal one: what is never tried cannot be found."""
    layers: int = 2
    """Number of blocks."""
    width: int = 64
    """Size of the residual stream."""
    seed: int = 0
    """Everything random follows from it."""
    steps_per_eval: int = 20
    """Steps of self-play between measurements; imitation is measured a fifth as often."""
    save_every: int = 20
    """Steps of self-play between frozen selves. They are the checkpoints, and all are kept."""
    name: str | None = None
    """Name of the run folder."""
    resume: Annotated[bool, FlagCreatePairsOff] = False
    """Go on with a run from its last checkpoint, bit for bit."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    for field in ("imitation_iters", "iters", "batch_size", "layers", "steps_per_eval", "save_every"):
        if getattr(config, field) < 1:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be at least 1")
    if config.games < 4:
        raise UserError(f"--games {config.games}: give at least 4, two for each side")
    if config.width < 8 or config.width % 8:
        raise UserError(f"--width {config.width}: give a multiple of 8, so that it divides into four heads")
    for field in ("skill", "explore"):
        if not 0 <= getattr(config, field) <= 1:
            raise UserError(f"--{field} {getattr(config, field)}: must lie between 0 and 1")
    for field in ("learning_rate", "imitation_rate"):
        if not 0 < getattr(config, field) < 10:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be above 0")
    if not 0 <= config.seed < 1 << 63:
        raise UserError(f"--seed {config.seed}: must lie between 0 and 2^63 - 1")


def shape(config: Config, tokens: int) -> Shape:
    """The model's numbers."""
    width = config.width
    return Shape(tokens, width, config.layers, 4, 4, width // 4, 3 * width, 32, tie_word_embeddings=False)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    form = shape(config, 324)
    steps = config.imitation_iters + config.iters
    facts = {
        "model": f"{form.parameters:,} parameters: {config.layers} layers, width {config.width}, one token a square"
    }
    rows = max(config.batch_size, config.games)
    return Plan(form.parameters, steps, facts=facts, memory=form.memory(rows, 13), checkpoint=12 * form.parameters,
                checkpoints=len(frozen(config, steps)) + 2)  # fmt: skip


def frozen(config: Config, now: int) -> list[int]:
    """The steps before `now` whose models are frozen selves: the last of imitation, and then every so many."""
    first, every = config.imitation_iters, config.save_every
    return [step for step in range(first, now) if step == first or step % every == 0]


class Pupil:
    """The model and the optimiser of the part it is in: Muon while it imitates, AdamW while it plays."""

    def __init__(self, config: Config, network: Transformer, step: int):
        self.config, self.network = config, network
        self.begin(step)

    def begin(self, step: int) -> None:
        """An optimiser that remembers nothing, for the part that step belongs to."""
        c = self.config
        if step <= c.imitation_iters:
            self.learner = Learner(self.network, _schedule(c.imitation_rate, c.imitation_iters, 0.5), "muon")
        else:
            self.learner = Learner(self.network, _schedule(c.learning_rate, c.iters, 0.3), "adamw")

    def save(self, folder: Path) -> None:
        """What `Learner.save` saves."""
        self.learner.save(folder)

    def load(self, folder: Path) -> None:
        """As it stood."""
        self.learner.load(folder)


def _schedule(peak: float, steps: int, decay: float) -> Schedule:
    return Schedule(peak, steps, min(20, max(1, steps // 5)), decay)


def practise(config: Config, me: Mind, selves: Selves, step: int) -> list[Played]:
    """A step's games and what each is worth. Games that stand alike when the learner first moves are a group: what its
    opponent began with is no merit of its own. The opponent's first move is any legal one in half of the games, and it sees
    the board turned: what the learner finds in one corner it meets in all four."""
    r = np.random.default_rng([config.seed, step])
    found: list[Played] = []
    groups = 0
    for side in "XO":
        known = frozen(config, step)
        chosen = known[int(r.integers(len(known)))]
        pool = config.opponents == "pool"
        learner, other = Explorer(me, config.explore), Explorer(selves.at(chosen) if pool else me, OTHERS)
        against = f"step {chosen}" if pool else "itself"
        players, turns = ((learner, other), "O") if side == "X" else ((other, learner), "X")
        ended = matches(*players, config.games // 2, r, turns)
        alike: dict[tuple[int, ...], list[Match]] = {}
        for match in ended:
            alike.setdefault(match.game.moves[: "XO".index(side)], []).append(match)
        for start, group in alike.items():
            if Game(start).illegal:
                continue  # the learner never came to move
            worth = advantages(group, side)
            found += [
                Played(m, side, against, groups, m.game.score(side), a) for m, a in zip(group, worth, strict=True)
            ]
            groups += 1
    return found


def advantages(group: Sequence[Match], side: str) -> list[float]:
    """Reward less the mean of the games whose first move the learner drew itself (of all, where there is none): the value
    of its play, so that a move it would not have played is measured against what it would have."""
    rewards = [match.game.score(side) for match in group]
    if max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    drawn = [not match.choices["XO".index(side)].explored for match in group]
    if not any(drawn):
        return centred(rewards)
    mean = sum(reward for reward, own in zip(rewards, drawn, strict=True) if own) / sum(drawn)
    return [reward - mean for reward in rewards]


def lesson(config: Config, tokenizer: Tokenizer, writes: Notation, step: int) -> list[Sample]:
    """Games of the teacher against itself; who has won and END are learnt too."""
    r = Random(f"selfplay {config.seed} {step}")
    found = []
    for _ in range(config.batch_size):
        game = tictactoe.teach(r, config.skill)
        ids = [*tokenizer.begin, *tokenizer.encode(tictactoe.written(game)), tokenizer.end]
        found.append(sample(ids, [0.0] * len(writes.before) + [1.0] * (len(ids) - len(writes.before))))
    return found


def look(config: Config, record: Run, rivals: Rivals, me: Mind, tokenizer: Tokenizer, step: int) -> dict[str, float]:
    """How it plays at this step, and games that it goes on with."""
    stream = Stream(me.network, tokenizer, me.network.shape.max_position_embeddings)
    for prompt in PROMPTS:
        told = list(
            stream([*tokenizer.begin, *tokenizer.encode(prompt)], Sampling(temp=1.0, max_tokens=16), config.seed)
        )
        text = tokenizer.decode([t.id for t in told], specials=True)
        record.sample(step, prompt, text, [t.id for t in told], [t.logp for t in told])
    found = rivals.figures(me, LOOK)
    record.headline = f"{found['teacher_score']:+.2f} against the teacher"
    return found


def run(config: Config, record: Run) -> None:
    """Imitate, play, compare."""
    tokenizer = vocabulary()
    network = Transformer(shape(config, tokenizer.vocab_size))
    network.initialise(config.seed)
    weights.save_config(record.folder, network, tokenizer)
    me = Mind(network, notation(tokenizer))
    first, total = config.imitation_iters, config.imitation_iters + config.iters
    pupil = Pupil(config, network, record.step)
    selves = Selves(record.folder, network.shape, me.writes)
    rivals = Rivals(config.skill, me.writes, config.seed)
    record.say(
        f"model   {network.shape.parameters:,} parameters: {config.layers} layers, width {config.width}, one token a square\n"
        f"run     {first} steps of {config.batch_size} games of the teacher, {config.iters} of {config.games} against "
        f"{'earlier selves' if config.opponents == 'pool' else 'itself'}\ndevice  {device.name()}"
    )
    record.keep = total  # the checkpoints are the pool: all stay
    record.attach(pupil)
    if record.saved_step < 0:
        record.log(0, **look(config, record, rivals, me, tokenizer, 0))
    for step in record.steps(total):
        imitates = step <= first
        record.save_every = first if imitates else config.save_every
        record.note = "imitating the teacher" if imitates else "playing against earlier selves"
        if step == first + 1:
            pupil.begin(step)
        clock = time.perf_counter()
        played = [] if imitates else practise(config, me, selves, step)
        rows = lesson(config, tokenizer, me.writes, step) if imitates else [to_sample(me.writes, p) for p in played]
        tokens = sum(len(row.ids) - 1 for row in rows) if imitates else sum(len(p.own) for p in played)
        batches = bucketed(rows, tokenizer.pad or 0, WASTE)
        number = step if imitates else step - first
        with keeping(record):
            stats = pupil.learner.step(number, batches, nll if imitates else policy_gradient(), per=tokens)
        told: dict[str, Any] = asdict(stats) | {"tok_s": round(tokens / (time.perf_counter() - clock))}
        if not imitates:
            told |= {"policy_loss": told.pop("loss")} | summary(played)
            keep_episodes(record.folder, tokenizer, me.writes, step, played)
        every = config.steps_per_eval * (5 if imitates else 1)
        looks = step % every == 0 or step in (first, total)
        seen = look(config, record, rivals, me, tokenizer, step) if looks else {}
        record.log(step, **told, **memory_stats(), **seen)
    if record.cut_short():
        return
    record.note = "the round robin"
    report(config, record, rivals, me, selves)
    record.note = ""


def report(config: Config, record: Run, rivals: Rivals, me: Mind, selves: Selves) -> None:
    """Teacher, imitator and what play has made of it, side by side; Elo of at most RATED selves."""
    first, last = config.imitation_iters, config.imitation_iters + config.iters
    rows = {f"imitator, step {first}": selves.at(first), f"self-play, step {last}": me}
    figures = {name: rivals.figures(mind, FINAL, 1) for name, mind in rows.items()}
    steps = [*frozen(config, last), last]
    spread = sorted({round(i * (len(steps) - 1) / (RATED - 1)) for i in range(RATED)})
    minds = {f"step {steps[i]}": me if steps[i] == last else selves.at(steps[i]) for i in spread}
    ratings = rivals.rated(minds)
    for who, elo in ratings.items():
        record.event("elo", player=who, elo=round(elo, 1))
    said = [f"  {who:22}{elo:+7.0f}" for who, elo in ratings.items()]
    table = rivals.table(figures, FINAL)
    record.say("\n".join(["", table, "", f"Elo (round robin, {ROBIN} games a pair; the teacher is 0)", *said]))
    cpu = time.process_time()
    record.say(f"CPU time of this process {cpu / 60:.1f} min; play against it: lab play --model {record.name}")
    told = dict(zip(("before", "after"), figures.values(), strict=True))
    found, missed = tictactoe.worth(config.skill)
    record.event(
        "report", **{f"{key}_{when}": value for when, one in told.items() for key, value in one.items()},
        teacher_against_perfect=rivals.exact(), worth_found=found, worth_missed=missed,
        elo_before=ratings[f"step {first}"], elo_after=ratings[f"step {last}"], cpu_s=round(cpu, 1),
    )  # fmt: skip
