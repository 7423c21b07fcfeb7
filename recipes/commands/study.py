"""Over-optimisation: what a reward says, and what it stands for, the further a model goes from where it began (Gao et al. 2022,
arXiv:2210.10760).

The more replies the best is chosen of, or the longer a policy learns, the more of the reward is error. Best-of-n comes from one
pool of replies to held-out prompts: for each n the unbiased mean over all choices of n of them (Hilton and Gao 2022,
openai.com/research/measuring-goodharts-law), at KL log n - (n - 1) / n. --runs adds the looks of runs of `lab rlhf` and `lab
dpo`, which measure KL and quality themselves. Through gold go the curves of the paper, by least squares, d being sqrt(KL):
d (a - b d) of best-of-n, d (a - b log d) of a run. At each place the text is named whose reward most exceeds what it is worth,
this model's "the the the".

Quality (gold) is the hidden judge's of the pocket world's jokes, or of your own prompts what a better reward model says
(--gold), as in the paper. All in standard deviations of the model's own replies, 0 their mean. Intervals are 95 % over prompts
(bootstrap). Ctrl-C stops the sampling, and shows what there is so far; --pool keeps it.

Measured (pocket-reason's jokes, pocket-reward, --runs pocket-rlhf; 40 prompts, 256 replies each; one pool, one seed):
best-of-n gold d (.97 [.93, 1.01] - .24 [.22, .27] d), R2 .99, highest at 4.1 nats: n = 16 +.86 at proxy +1.29, 256 +1.00 at
+1.67. The run comes to +.98 at 5.4 nats, proxy +1.72, within ten steps to most of it (+.85): its looks lie too close together
for a curve.

Examples:
  lab study --reward reward-model-1                                 best-of-n of the model whose replies were ranked
  lab study --reward reward-model-1 --runs rlhf-1 --runs rlhf-2 --runs dpo-1 --picture study.svg
  lab study --reward reward-model-1 --pool pool.jsonl               keep the replies: the next call takes them from there
  lab study --reward small --gold large --model mine --data prompts.jsonl
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, UseAppendAction

from lab import graph, reward
from lab.display import CONTROLS
from lab.errors import expand
from lab.graph import Series
from lab.rankings import text_of
from lab.runs import find
from recipes.bestof import judged, measure, most_gamed, policy_of, pool, scale
from recipes.commands.score import newest
from recipes.overoptimised import Curve, Place, Road, fitted, pooled, road

SHOWN = 110  # characters of a text
FINE = 60  # points of a curve
MARKS = ("▲", "△", "■", "□", "◆", "◇", "★", "☆")  # of runs: gold, proxy


@dataclass(frozen=True)
class Config:
    reward: str | None = None
    """The reward model that is optimised: a run of lab reward-model; without it the newest one."""
    model: str | None = None
    """Whose replies; without it those that were ranked for the reward model."""
    runs: UseAppendAction[tuple[str, ...]] = ()
    """A run of lab rlhf or lab dpo that began as this model; may be given several times."""
    gold: str | None = None
    """A better reward model that says how good replies are; without it the hidden judge of the pocket's jokes."""
    data: str | None = None
    """With --gold: your own prompts, as for lab rank; one in ten is held out, and asked."""
    prompts: int = 40
    """Held-out prompts, at most as many as there are."""
    samples: int = 256
    """Replies to each: the largest n."""
    temp: float = 1.0
    """Temperature of the replies."""
    max_tokens: int = 128
    """Longest reply; one that is cut is drawn again."""
    seed: int = 0
    """The same seed gives the same replies."""
    pool: str | None = None
    """Keep the replies in this .jsonl, and take them from there the next time (lab gap reads it too)."""
    picture: str | None = None
    """Draw it into this .svg, or .png (needs resvg-py)."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the figures as JSON."""


def run(config: Config) -> int:
    pool(config, "")  # bad flags are told before a model is opened
    picture = expand(config.picture).resolve() if config.picture else None
    if picture is not None:
        graph.check(picture)
    for name in config.runs:
        find(name)
    gold, by = measure(config.gold, config.data)
    rm = reward.load(config.reward or newest())
    model = config.model or policy_of(rm)
    for name in config.runs:
        road(name, 1.0, 1.0)  # that it has looks is known before the sampling
    found, stopped = judged(pool(config, model), rm, gold)
    many = pooled(found, config.samples)
    widths = [scale([one.proxy for one in found])[1], scale([one.gold for one in found])[1]]
    roads = [road(name, *widths) for name in config.runs]
    curve, spans = many.curves("gold")
    texts = [most_gamed(found, n) for n in many.ns]
    series = drawn(many.places, curve, roads)
    facts: dict[str, Any] = {
        "model": model, "reward": rm.model.name, "gold": by, "prompts": len(found), "samples": config.samples,
        "stopped": stopped, "gold_std": widths[1],
        "best_of_n": {
            "places": [
                asdict(place) | {"d": place.d, "prompt": text_of(t[0]), "text": t[1], "text_proxy": t[2], "text_gold": t[3]}
                for place, t in zip(many.places, texts, strict=True)
            ],
            "curve": told(curve, many.places), "intervals": spans,
        },
        "runs": [
            {
                "run": one.name, "parent": one.parent, "curve": told(through(one), one.places),
                "places": [asdict(p) | {"d": p.d} | one.texts.get(p.label, {"text": None}) for p in one.places],
            }
            for one in roads
        ],
    }  # fmt: skip
    title = f"Over-optimisation of {rm.model.name}, away from {model}"
    if picture is not None:
        graph.save(
            picture, graph.svg(series, title, "d = sqrt(KL from the start, nats)", "standard deviations of its replies")
        )
    if config.json:
        print(json.dumps(clean(facts), ensure_ascii=False, indent=2))
        return 130 if stopped else 0
    console = Console()
    show(console, facts)
    console.print(graph.text(series, "sqrt(KL)", "\nstandard deviations of its replies"), markup=False, highlight=False)
    for line in lines(facts):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if picture is not None:
        console.print(f"Written to {picture}", markup=False, highlight=False, soft_wrap=True)
    return 130 if stopped else 0


def through(one: Road) -> Curve | None:
    """The curve of a run's gold."""
    return fitted("rl", [p.d for p in one.places], [p.gold for p in one.places])


def told(curve: Curve | None, places: Sequence[Place]) -> dict[str, Any] | None:
    """A curve as figures; its top is told where places reach half as far at least, beyond which it is a guess."""
    if curve is None:
        return None
    seen = curve.top is not None and curve.top <= 2 * max(p.d for p in places)
    return asdict(curve) | {"top": curve.top if seen else None, "formula": str(curve)}


def clean(value: Any) -> Any:
    """With null where a number is none: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drawn(places: Sequence[Place], curve: Curve | None, roads: Sequence[Road]) -> list[Series]:
    """What the graph shows: gold filled, proxy hollow, curves through gold."""
    found = [
        Series("best-of-n: gold", [(p.d, p.gold) for p in places], "●"),
        Series("best-of-n: proxy", [(p.d, p.proxy) for p in places], "○", hollow=True),
    ]
    if curve is not None:
        found.append(Series(str(curve), curved(curve, places), "·", line=True))
    for k, one in enumerate(roads):
        mark, hollow = MARKS[2 * k % len(MARKS)], MARKS[(2 * k + 1) % len(MARKS)]
        found.append(Series(f"{one.name}: gold", [(p.d, p.gold) for p in one.places], mark, k + 1))
        if any(math.isfinite(p.proxy) for p in one.places):
            found.append(Series(f"{one.name}: proxy", [(p.d, p.proxy) for p in one.places], hollow, k + 1, hollow=True))
        if (fit := through(one)) is not None:
            found.append(Series(str(fit), curved(fit, one.places), "·", k + 1, line=True))
    return found


def curved(curve: Curve, places: Sequence[Place]) -> list[tuple[float, float]]:
    """Points of a curve up to the furthest place."""
    far = max(p.d for p in places)
    return [(far * i / FINE, curve(far * i / FINE)) for i in range(FINE + 1)]


# -- what a person reads -----------------------------------------------------------------------------------------------


def show(console: Console, facts: dict[str, Any]) -> None:
    """A table a road: how far, proxy, gold, the most overrated text."""
    if facts["stopped"]:
        console.print("Stopped; this is what there is so far.", highlight=False)
    title = (
        f"best of n by {facts['reward']}: {facts['model']}, {facts['prompts']} held-out prompts, "
        f"{facts['samples']} replies each"
    )
    table(console, title, "n", facts["best_of_n"]["places"])
    for one in facts["runs"]:
        table(console, f"{one['run']}, from {one['parent'] or '?'}", "step", one["places"])
        if one["parent"] and one["parent"] != facts["model"]:
            console.print(f"{one['run']} did not begin as {facts['model']}: its d has another origin", style="yellow")


def table(console: Console, title: str, label: str, places: Sequence[dict[str, Any]]) -> None:
    """The places of one road."""
    found = Table(box=None, header_style="bold", title=escape(title), title_justify="left")
    for name in (label, "KL", "sqrt KL", "proxy", "gold"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("most overrated (proxy, gold)")
    for row in places:
        proxy, gold = (cell(row["spans"].get(name), row[name]) for name in ("proxy", "gold"))
        text = row.get("text")
        said = f"({row['text_proxy']:+.1f}, {row['text_gold']:+.1f}) {short(text)}" if text else ""
        found.add_row(f"{row['label']}", f"{row['kl']:.2f}", f"{row['d']:.2f}", proxy, gold, escape(said))
    console.print(found)
    console.print()


def cell(span: dict[str, Any] | None, value: float) -> str:
    """A figure, with its interval where there is one."""
    if not math.isfinite(value):
        return "-"
    return f"{value:+.2f}" + (f" [{span['low']:+.2f}, {span['high']:+.2f}]" if span else "")


def lines(facts: dict[str, Any]) -> list[str]:
    """The curves in words."""
    found = []
    roads = [("best-of-n", facts["best_of_n"]["curve"], facts["best_of_n"]["intervals"])]
    roads += [(one["run"], one["curve"], {}) for one in facts["runs"]]
    for name, curve, spans in roads:
        if curve is None:
            found.append(f"{name}: too few places away from the start, or too close together, for a curve")
            continue
        ranges = "".join(f", {k} [{low:.3f}, {high:.3f}]" for k, (low, high) in spans.items())
        top = (
            "only rises"
            if curve["top"] is None
            else f"highest at d = {curve['top']:.2f} (KL {curve['top'] ** 2:.1f} nats)"
        )
        found.append(f"{name}: gold = {curve['formula']}{ranges}; R2 {curve['r2']:.3f}; {top}")
    found.append(
        f"d = sqrt(KL); proxy ({facts['reward']}) and gold ({facts['gold']}) in standard deviations of {facts['model']}'s "
        "replies; 95 % intervals over prompts"
    )
    return found


def short(text: str) -> str:
    """One line of a text."""
    line = " ".join(text.split()).translate(CONTROLS)
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
