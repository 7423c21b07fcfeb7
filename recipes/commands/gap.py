"""The gap between telling and doing: how well a reward model tells good replies from bad ones, how seldom the model writes a
good one, and what choosing the best of n gains.

The model is asked held-out prompts many times. A top reply is one as good as the best fifth of the first model's. Telling:
of two replies to a prompt, of different quality, how often the reward model scores the better one higher; and the same on
the held-out rankings it never learnt from. Doing: how often a reply is a top one. Choosing: how often the best of n by the
reward model is a top one, and how good it is, in standard deviations of the first model's replies; beside it what a perfect
judge would choose. The best of n is estimated without bias from all replies at once (Hilton and Gao 2022,
openai.com/research/measuring-goodharts-law); its KL is log n - (n - 1) / n. A recipe closes the gap where the reply of a
tuned model (n = 1) is what the first one's best of n was: give both.

Quality is the hidden judge's of the pocket world's jokes, or of your own prompts what a better reward model says (--gold).
Ctrl-C stops, and shows what there is so far. Intervals are 95 % over prompts.

Measured (the jokes of the model that GRPO left, a reward model from 1,000 rankings, 40 prompts, 64 replies each; seeds 0 / 1):
telling .84 / .84 (held-out rankings .79 / .80, their ceiling .91 / .89), doing .14 / .16; the best of 4, 16, 64 is a top reply
.39, .72, .93 / .41, .75, .95 of the time and has quality +.63, +.85, +.97 / +.61, +.82, +.92 at reward +.89, +1.28, +1.51 /
+.88, +1.25, +1.48: the reward rises faster than the quality.

Examples:
  lab gap --reward reward-model-1                              the model whose replies were ranked
  lab gap --reward reward-model-1 --model pocket-sft --model rlhf-1
  lab gap --reward small --gold large --data prompts.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct
  lab gap --reward reward-model-1 --samples 256 --pool pool.jsonl      replies are kept, for lab study too
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, UseAppendAction

from lab import rankings, reward
from lab.errors import UserError
from lab.reward import RewardModel
from lab.runs import read_json
from recipes.bestof import Told, best_of, divergence, judged, measure, policy_of, pool, powers, scale
from recipes.commands.evaluate import spread
from recipes.commands.score import newest
from recipes.preferences import Judged

TOP = 0.2  # the share of the first model's replies that are top ones, as nearly as equal qualities allow


@dataclass(frozen=True)
class Config:
    reward: str | None = None
    """The reward model that tells and chooses: a run of lab reward-model; without it the newest one."""
    model: UseAppendAction[tuple[str, ...]] = ()
    """Who writes; may be given several times. Without it the model whose replies were ranked."""
    gold: str | None = None
    """A better reward model that says how good replies are; without it the hidden judge of the pocket's jokes."""
    data: str | None = None
    """With --gold: your own prompts, as for lab rank; one in ten is held out, and asked."""
    rankings: str | None = None
    """Rankings whose held-out part it is to tell as well; without it those that it learnt from the rest of."""
    prompts: int = 40
    """Held-out prompts, at most as many as there are."""
    samples: int = 64
    """Replies to each: the largest n."""
    temp: float = 1.0
    """Temperature of the replies."""
    max_tokens: int = 128
    """Longest reply; one that is cut is drawn again."""
    seed: int = 0
    """The same seed gives the same prompts and replies."""
    pool: str | None = None
    """Keep the replies in this .jsonl, and take them from there the next time (one model)."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the figures as JSON."""


def run(config: Config) -> int:
    if config.pool and len(config.model) > 1:
        raise UserError("--pool keeps the replies of one model; leave it out, or name one --model")
    pool(config, "")  # bad flags are told before a model is opened
    gold, by = measure(config.gold, config.data)
    rm = reward.load(config.reward or newest())
    names = config.model or (policy_of(rm),)
    known = held(config, rm)  # a wrong --rankings is told before the sampling
    told: list[tuple[str, list[Told]]] = []
    stopped = False
    for name in names:
        found, stopped = judged(pool(config, name), rm, gold)
        told.append((name, found))
        if stopped:
            break
    facts = figures(told, config.samples)
    facts |= {"reward": rm.model.name, "gold": by, "stopped": stopped, "held_out": known}
    if config.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        show(facts, config)
    return 130 if stopped else 0


def held(config: Config, rm: RewardModel) -> dict[str, Any] | None:
    """Of held-out rankings the share of pairs it tells, None where they are not at hand."""
    given = config.rankings
    if given is None:
        made = read_json(rm.model.folder / "run.json").get("config")
        given = made.get("rankings") if isinstance(made, dict) else None
        if not isinstance(given, str) or not Path(given).exists():
            return None
    some = rankings.load(given).held
    if not some:
        raise UserError(f"{given}: nothing in it is held out")
    tops = [one.ceiling for one in some if one.ceiling is not None]
    found = spread(Judged(rm, [reward.ranked(rm.model, one) for one in some]).shares, share=True)
    return found | {"ceiling": float(np.mean(tops)) if len(tops) == len(some) else None}


# -- figures -----------------------------------------------------------------------------------------------------------


def figures(told: Sequence[tuple[str, list[Told]]], samples: int) -> dict[str, Any]:
    """What there is to say of each model."""
    first = told[0][1]
    (pm, ps), (gm, gs) = scale([one.proxy for one in first]), scale([one.gold for one in first])
    bar = fifth(np.concatenate([one.gold for one in first]))
    models = []
    for name, found in told:
        rows = []
        for n in powers(samples):
            row: dict[str, Any] = {"n": n, "kl": divergence(n)}
            row["top"] = spread([best_of(n, one.proxy, top(one, bar)) for one in found])
            row["gold"] = spread([best_of(n, one.proxy, (one.gold - gm) / gs) for one in found])
            row["proxy"] = spread([best_of(n, one.proxy, (one.proxy - pm) / ps) for one in found])
            row["perfect_top"] = spread([best_of(n, one.gold, top(one, bar)) for one in found])
            row["perfect_gold"] = spread([best_of(n, one.gold, (one.gold - gm) / gs) for one in found])
            rows.append(row)
        telling = [right for one in found if (right := concordance(one)) is not None]
        models.append(
            {"model": name, "prompts": len(found), "samples": samples, "tells": spread(telling), "best_of": rows}
        )
    return {"mean": gm, "std": gs, "top": bar, "models": models}


def fifth(gold: np.ndarray) -> float:
    """The quality [N] that a top reply has at least. Many replies are equally good, so no bar may leave exactly a fifth."""
    values, counts = np.unique(np.round(gold, 9), return_counts=True)
    share = counts[::-1].cumsum()[::-1] / len(gold)
    return float(values[int(np.argmin(np.abs(share - TOP)))])


def top(one: Told, bar: float) -> np.ndarray:
    """1 for replies that are as good as `bar`, a rounding error aside, float64 [N]."""
    return (one.gold >= bar - 1e-9).astype(np.float64)


def concordance(one: Told) -> float | None:
    """Of the pairs of its replies of different quality the share that the proxy tells; equal scores are half told. None
    without such a pair."""
    i, j = np.triu_indices(len(one.gold), 1)
    gold, proxy = one.gold[i] - one.gold[j], one.proxy[i] - one.proxy[j]
    told = np.abs(gold) > 1e-9
    if not told.any():
        return None
    return float((0.5 * (1 + np.sign(gold[told]) * np.sign(proxy[told]))).mean())


# -- what a person reads -----------------------------------------------------------------------------------------------


def show(facts: dict[str, Any], config: Config) -> None:
    """Telling, doing, choosing."""
    console = Console()
    say = lambda text, **more: console.print(text, markup=False, highlight=False, soft_wrap=True, **more)  # noqa: E731
    if facts["stopped"]:
        say("Stopped; this is what there is so far.")
    if known := facts["held_out"]:
        top = f"   ceiling by the judge's noise {known['ceiling']:.3f}" if known["ceiling"] is not None else ""
        say(f"{facts['reward']} tells the better of two in held-out rankings {cell(known)}{top}")
    for one in facts["models"]:
        say(f"\n{one['model']}: {one['prompts']:,} held-out prompts, {one['samples']} replies each", style="bold")
        say(f"  telling: of two of its replies {facts['reward']} scores the better one higher  {cell(one['tells'])}")
        say(f"  doing:   it writes a top reply (as the best fifth of {facts['models'][0]['model']})"
            f"  {cell(one['best_of'][0]['top'])}")  # fmt: skip
        table = Table(box=None, header_style="bold", show_edge=False)
        for name in ("n", "KL", "top reply", "quality", "reward", "perfect: top", "quality"):
            table.add_column(name, justify="right")
        for row in one["best_of"]:
            spans = (cell(row["top"], 2), cell(row["gold"], 2, "+"), cell(row["proxy"], 2, "+"))
            perfect = (f"{row['perfect_top']['mean']:.2f}", f"{row['perfect_gold']['mean']:+.2f}")
            table.add_row(f"{row['n']}", f"{row['kl']:.1f}", *map(escape, (*spans, *perfect)))
        console.print(table)
    first = facts["models"][0]["model"]
    say(
        f"perfect: what a perfect judge would choose; quality (by {facts['gold']}) and reward in standard deviations of "
        f"{first}'s replies, 0 is their mean; 95 % intervals over prompts", style="dim",
    )  # fmt: skip


def cell(value: dict[str, Any], digits: int = 3, sign: str = "") -> str:
    """A mean with its interval."""
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:{sign}.{digits}f} [{value['low']:{sign}.{digits}f}, {value['high']:{sign}.{digits}f}]"
