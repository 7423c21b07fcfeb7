"""A reward model against a policy that games it, round after round: find texts that it likes and that are bad, rank them last,
train it again, and look for new ones (the loop at the end of the talk's chapter on human feedback; adversarial training of
reward models as in Bukharin et al. 2025, arXiv:2504.06141).

A round is two ordinary runs: NAME-1-policy (a short `lab rlhf` against the reward model so far) and NAME-1-reward (`lab
reward-model` on a copy of the rankings). In between, of the policy's replies those with a high score and little gold are put
last in the rankings of their prompts. Each round tells its most overrated text, its proxy and its gold. Who says what is bad:
the pocket world's hidden judge; with --gold a model, which compares with the middle one of the ranking; else you, who are
shown the texts with the highest scores and name the bad ones.

The last round's reward model is the hardened one. As long as a round finds something it goes on: a score learnt from finitely
many comparisons has texts that nobody compared. How many a policy finds in its steps is another matter.

Measured on jokes of the line before, seeds 0 / 1, three rounds of 60 steps, 30 CPU-minutes beside other work (10 alone): each
round finds new ones, 16, 7, 13 / 2, 4, 4 texts that are ranked last. The most overrated of each: "Why did the truck hide an
umbrella? Because the umbrella knew too much." (proxy +1.27, gold -.52), "At the beach the penguin met a Kelmon. The kettle
left first." (+1.74, -1.20), "Why did the big hide a sandwich? ..." (+1.38, -.52) / "At the pep an onion met an onion. ..."
(+1.31, -2.25), "A doctor came to the beach and asked for an onion." (+1.03, -.30), "At the library the6uh met an umbrella.
..." (+1.14, -.75). Gold at the end of the rounds 1.03, .72, 1.02 / 1.74, .96, 1.77. An earlier line's policies found 7, 18, 13
/ 24, 12, 26; with the reward model of an earlier base nothing was found: the policy settled on one good joke first.

Examples:
  lab harden --rankings jokes.jsonl --reward reward-model-1           three rounds on jokes
  lab harden --rankings jokes.jsonl --reward reward-model-1 --rounds 5 --kl 0.02
  lab harden --rankings mine.jsonl --reward mine --model smollm2.gguf --data prompts.jsonl --gold Qwen/Qwen3-4B
  lab harden --name harden-1 --resume                                 what is done is not done again
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from tyro.conf import FlagCreatePairsOff

from lab import episodes, rankings, reward
from lab.display import CONTROLS
from lab.errors import UserError, expand
from lab.letters import MOST
from lab.rankings import Prompt, Ranking, key_of, row_of, text_of
from lab.run import Run
from lab.runs import alive, checkpoints, read_json, read_lines, root, write_atomic
from lab.words import duration
from recipes.commands.score import newest
from recipes.estimate import Plan, Work
from recipes.walking import environment, lab

CHARTS: tuple[dict[str, Any], ...] = (
    {"title": "at the end of each round: proxy and gold", "keys": ["proxy", "gold"]},
    {"title": "the most overrated text: its proxy and gold", "keys": ["text_proxy", "text_gold"]},
    {"title": "KL from the start, nats a reply", "keys": ["kl"]},
    {"title": "pair accuracy of the reward model, held out", "keys": ["held_accuracy"]},
)
LAST = 20  # steps of a policy's run whose replies are looked through
SHOWN = 12  # texts that a person is shown


@dataclass(frozen=True)
class Config:
    model: str = "pocket-sft"
    """The policy that every round begins as, and whose body scores."""
    reward: str | None = None
    """The reward model to begin with; without it the newest one."""
    rankings: str | None = None
    """What it was trained on; without it the rankings.jsonl of the weights folder. The file stays as it is."""
    data: str | None = None
    """Your own prompts; without it the pocket world's jokes."""
    rounds: int = 3
    """Rounds of policy, found texts, reward model."""
    iters: int = 60
    """Steps of the policy in a round."""
    kl: float = 0.0
    """Price of a nat of divergence in these steps: none, so that what can be gamed is."""
    gold: str | None = None
    """A model that says which of the replies are bad."""
    found: int = 100
    """Texts that a round puts last, each in the ranking of its prompt."""
    fine_tune_type: Literal["full", "lora"] | None = None
    """full or lora, for both runs; by default full up to 30M parameters."""
    seed: int = 0
    """Everything random follows from it."""
    name: str | None = None
    """Name of the run folder; its rounds are NAME-1-policy, NAME-1-reward, ..."""
    resume: Annotated[bool, FlagCreatePairsOff] = False
    """Go on where it stopped."""


def check(config: Config) -> Config:
    """Refuse bad flags before anything is written; the config with its files in full."""
    for field in ("rounds", "iters", "found"):
        if getattr(config, field) < 1:
            raise UserError(f"--{field} {getattr(config, field)}: must be at least 1")
    name = config.reward or newest()
    reward.located(name)
    path = expand(config.rankings) if config.rankings else rankings.path_of()
    if not path.is_file():
        raise UserError(f"--rankings {path}: no such file; make one with `lab rank`")
    rankings.load(path)
    if config.data and not config.gold and not sys.stdin.isatty():
        raise UserError("nobody says which replies are bad: name a model with --gold, or start it in a terminal")
    where = expand(name)
    return replace(config, reward=str(where.resolve()) if where.exists() else name, rankings=str(path.resolve()))


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`: each round what `lab rlhf` and `lab reward-model` would."""
    from recipes import reward_model, rlhf
    from recipes.trial import of_reward_model
    from recipes.trial_taste import of_rlhf

    given: dict[str, Any] = {"model": config.model, "seed": config.seed, "fine_tune_type": config.fine_tune_type}
    policy = of_rlhf(
        rlhf.check(rlhf.Config(**given, reward=config.reward, kl=config.kl, iters=config.iters, data=config.data))
    )
    judge = of_reward_model(reward_model.check(reward_model.Config(**given, rankings=config.rankings)))

    def work(safe: bool) -> Iterator[Work]:
        for one in (policy, judge):
            for part in one.work(safe) if one.work else ():
                yield part._replace(times=part.times * config.rounds)

    size = sum((one.checkpoint or 0) * (one.checkpoints + 1) + 4 * (one.parameters or 0) for one in (policy, judge))
    facts = {"rounds": f"{config.rounds} of {policy.steps} steps of a policy and {judge.steps} of a reward model"}
    return Plan(
        policy.parameters, config.rounds * ((policy.steps or 0) + (judge.steps or 0)), facts=facts | dict(policy.facts),
        memory=max(policy.memory or 0, judge.memory or 0) or None, checkpoint=size // 2, checkpoints=2 * config.rounds - 1,
        work=work,
    )  # fmt: skip


class Found(NamedTuple):
    """A reply with what the reward model and what somebody else thinks of it (None: nobody was asked)."""

    prompt: Prompt
    text: str
    proxy: float
    gold: float | None


def run(config: Config, record: Run) -> None:
    """Rounds; each stage is a run of its own, and one that is done stays."""
    judge, told = str(config.reward), str(config.rankings)
    record.total = 2 * config.rounds
    record.saved_step = 0  # there are no weights to save
    record.tell("running", force=True)
    known = {row["round"] for row in read_lines(record.folder / "metrics.jsonl") if "proxy" in row}
    for at in range(1, config.rounds + 1):
        policy, judging = (f"{record.name}-{at}-{what}" for what in ("policy", "reward"))
        if not stage(record, policy, rlhf_flags(config, judge), f"round {at}: the policy games the reward model"):
            break
        record.step = 2 * at - 1
        copy = record.folder / f"rankings-{at}.jsonl"
        bad = put_last(config, record, Path(told), root() / policy, copy)
        if not stage(record, judging, reward_flags(config, copy), f"round {at}: the reward model learns"):
            break
        record.step = 2 * at
        if at not in known:
            tell(record, at, policy, judging, bad)
        record.tell("running", force=True)
        judge, told = judging, str(copy)
    if not record.cut_short():
        record.say(f"the hardened reward model: {judge}; its rankings: {told}\nlab rlhf --reward {judge}")


def rlhf_flags(config: Config, judge: str) -> list[str]:
    """The policy of a round."""
    given = ["rlhf", "--model", config.model, "--reward", judge, "--kl", str(config.kl), "--iters", str(config.iters)]
    given += ["--data", config.data] if config.data else []
    return given + (["--gold", config.gold] if config.gold else []) + shared(config)


def reward_flags(config: Config, copy: Path) -> list[str]:
    """The reward model of a round."""
    return ["reward-model", "--model", config.model, "--rankings", str(copy), *shared(config)]


def shared(config: Config) -> list[str]:
    """Flags of both."""
    return ["--seed", str(config.seed)] + (["--fine-tune-type", config.fine_tune_type] if config.fine_tune_type else [])


# -- a stage -----------------------------------------------------------------------------------------------------------


def stage(record: Run, name: str, flags: Sequence[str], says: str) -> bool:
    """Run `lab FLAGS --name NAME` to its end, or go on with it; whether it is done. UserError where it fails."""
    folder = root() / name
    while alive(folder):  # of a hardening that was killed: it goes on by itself
        record.note = f"{says}; waiting for {name}, which still runs"
        record.tell("running")
        time.sleep(0.3)
        if record.stopped:
            return False
    if read_json(folder / "status.json").get("state") == "done":
        return True
    going = bool(checkpoints(folder)) and (folder / "run.json").is_file()
    given = [flags[0], "--name", name, "--resume"] if going else [*flags, "--name", name]
    with open(record.folder / f"{name}.txt", "ab") as out:
        process = subprocess.Popen(lab(*given), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True, env=environment())  # fmt: skip
    asked = False
    while process.poll() is None:
        status = read_json(folder / "status.json")
        left = f", left {duration(status.get('eta'))}" if status.get("eta") else ""
        record.note = f"{says}, step {status.get('step', 0)} of {status.get('total') or '?'}{left}"
        record.tell("running")
        if record.stopped and not asked:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)  # it saves, and ends
            asked = True
        time.sleep(0.1)
    record.note = ""
    if process.returncode and not record.stopped:
        lines = (record.folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        raise UserError(f"{name}: {lines[-1] if lines else 'it was killed'}; go on with --name {record.name} --resume")
    return read_json(folder / "status.json").get("state") == "done"


# -- what is found -----------------------------------------------------------------------------------------------------


def put_last(config: Config, record: Run, before: Path, policy: Path, copy: Path) -> list[Found]:
    """Write the rankings with the bad texts of the policy at the end of theirs, and say which they are."""
    beside = record.folder / f"{copy.stem}-found.jsonl"
    if copy.is_file() and beside.is_file():
        return [Found(*(row[name] for name in Found._fields)) for row in read_lines(beside)]
    ranked = [one for one in rankings.read_file(before) if one.order]
    room = {one.key: one for one in ranked if len(one.options) < MOST and not rankings.held_out(one)}
    some = [one for one in overrated(policy) if (r := room.get(key_of(one.prompt))) and one.text not in r.options]
    if config.gold:
        some = compared(config, some[: 4 * config.found], room)
    bad = ask(record, some) if not config.gold and config.data else some[: config.found]
    last: dict[str, Found] = {}
    for one in bad:
        last.setdefault(key_of(one.prompt), one)
    rows = [row_of(worst(r, last[r.key].text) if room.get(r.key) is r and r.key in last else r) for r in ranked]
    write_atomic(copy, "".join(json.dumps(row) + "\n" for row in rows))
    write_atomic(beside, "".join(episodes.line(one._asdict()) for one in last.values()))
    return list(last.values())


def worst(one: Ranking, text: str) -> Ranking:
    """The ranking with a text behind all others; as it was where that text is among them."""
    if text in one.options:
        return one
    return replace(one, options=[*one.options, text], order=[*one.order, len(one.options)])


def overrated(policy: Path) -> list[Found]:
    """Replies of the last steps that the reward model finds better than the mean of the start, and that somebody else, who
    measured them, finds worse than it: the largest difference first, each text once, and of each prompt one. Where nobody
    did: by score."""
    start = next((row for row in read_lines(policy / "metrics.jsonl") if "held_reward" in row), {})
    middle, width = start.get("held_gold") or 0.0, start.get("held_gold_std") or 1.0

    def gap(one: Found) -> float:
        return one.proxy - (0.0 if one.gold is None else (one.gold - middle) / width)

    found: dict[str, Found] = {}
    for one in replies(policy):
        if one.proxy > 0 and (one.gold is None or one.gold < middle):
            found.setdefault(one.text, one)
    top: dict[str, Found] = {}
    for one in sorted(found.values(), key=gap, reverse=True):
        top.setdefault(key_of(one.prompt), one)
    return list(top.values())


def replies(policy: Path) -> Iterator[Found]:
    """The whole replies of its last steps that were learnt from."""
    for step in episodes.steps(policy)[-LAST:]:
        for row in episodes.read(policy, step):
            said = str(row.get("said") or "")
            if row["stop"] == "end" and row["reward"] is not None and not row.get("held_out") and said:
                messages = row["messages"]
                alone = len(messages) == 1 and isinstance(messages[0]["content"], str)
                prompt = messages[0]["content"] if alone else messages
                yield Found(prompt, said, row["reward"], row["notes"].get("gold"))


def compared(config: Config, some: Sequence[Found], room: dict[str, Ranking]) -> list[Found]:
    """Those that a model finds worse than the middle one of their ranking."""
    from lab.judge import Judge, Pair
    from recipes.commands.generate import open_model

    def middle(one: Found) -> str:
        ranked = room[key_of(one.prompt)]
        return ranked.options[ranked.order[len(ranked.order) // 2]]

    told = Judge(open_model(str(config.gold), None)).preferences(
        [Pair(text_of(o.prompt), o.text, middle(o)) for o in some]
    )
    return [
        one._replace(gold=said.p) for one, said in zip(some, told, strict=True) if said is not None and said.p < 0.5
    ]


def ask(record: Run, some: Sequence[Found]) -> list[Found]:
    """A person names the bad ones."""
    shown = sorted(some, key=lambda one: -one.proxy)[:SHOWN]
    for i, one in enumerate(shown, 1):
        record.say(f"{i:3}  {one.proxy:+.2f}  {text_of(one.prompt)} -> {one.text}".translate(CONTROLS))
    if not shown:
        return []
    try:
        said = input("which are bad? numbers, or nothing> ")
    except EOFError:
        said = ""
    return [
        shown[int(word) - 1]
        for word in said.replace(",", " ").split()
        if word.isdigit() and 0 < int(word) <= len(shown)
    ]


def tell(record: Run, at: int, policy: str, judging: str, bad: Sequence[Found]) -> None:
    """A round's figures: a row of the record, and lines for people."""
    rows = list(read_lines(root() / policy / "metrics.jsonl"))
    looks = [row for row in rows if "held_reward" in row]
    report = next((r for r in read_lines(root() / judging / "metrics.jsonl") if r.get("event") == "report"), {})
    end = looks[-1]
    told = {"round": at, "proxy": end["held_reward"], "gold": end.get("held_gold"), "kl": end["held_kl"],
            "best_gold": max((r["held_gold"] for r in looks if r.get("held_gold") is not None), default=None),
            "found": len(bad), "held_accuracy": report.get("held_accuracy")}  # fmt: skip
    top = bad[0] if bad else None
    if top:
        told |= {"text_proxy": top.proxy, "text_gold": top.gold}
        record.event("found", round=at, prompt=text_of(top.prompt), text=top.text, proxy=top.proxy, gold=top.gold)
    record.log(record.step, **{name: value for name, value in told.items() if value is not None})
    gold = f", gold {end['held_gold']:+.2f} (best {told['best_gold']:+.2f})" if end.get("held_gold") is not None else ""
    record.headline = f"round {at}: proxy {end['held_reward']:+.2f}{gold}"
    record.say(
        f"round {at}  proxy {end['held_reward']:+.2f}{gold}, KL {end['held_kl']:.1f} nats; {len(bad)} texts ranked last"
    )
    if top:
        text = " ".join(top.text.split()).translate(CONTROLS)
        worth = "" if top.gold is None else f", gold {top.gold:+.2f}"
        record.say(f"         most overrated: proxy {top.proxy:+.2f}{worth}  {text[:200]}")
