"""How well `lab.clean` finds what is planted, and what it takes of what is clean.

    python -m tests.bench.clean stories/ glosses.jsonl.gz:definition chats.jsonl:messages --preset notes

Every set is cleaned twice: as it is (what is dropped then is either a natural duplicate or lost), and with planted
documents behind, drawn with a fixed seed from those that were kept: exact copies, near-copies, boilerplate, passages in
other languages, repetition, footers, addresses. Found means: dropped for a reason of that kind (footers: the line is
gone and the document is not; addresses: masked).
"""

import argparse
import random
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab import read
from lab.clean import Report, check, clean
from lab.near import shingles, words
from lab.read import Document
from lab.rules import PRESETS, Rules

OTHERS = [
    "lantern",
    "quickly",
    "seven",
    "yellow",
    "market",
    "whisper",
    "beneath",
    "copper",
    "orchard",
    "slowly",
    "window",
]
HEADERS = ("Notes of 3 March", "Copied from the old folder", "Draft two, please read", "From the archive, page 7")
SITES = ("Northwind", "Blue Harbour", "The Daily Fern", "Oakley & Sons", "Kitchen Atlas")
NOTICES = (
    "This website uses cookies to improve your experience. By continuing you accept all cookies.",
    "Please enable JavaScript in your browser to view {site}.\nJavaScript is disabled.",
    "Home | About us | Contact | FAQ | Log in | Register\nPrivacy policy | Terms of use | Cookie policy | {site}",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore.",
    "We use cookies on {site}. Accept all cookies\nCookie settings | Privacy policy | Terms of use",
)
FOOTERS = (
    "Home | About us | Contact us | Privacy policy | Terms of use",
    "This site uses cookies, see our cookie policy.",
    "Please enable JavaScript to see the comments.",
)
ALONG = {
    "de": """Gestern Abend sind wir noch lange am Fluss entlang gegangen, und die Kinder haben Steine ins Wasser geworfen.
Der Bäcker an der Ecke öffnet schon um fünf Uhr morgens, damit die Arbeiter ihr Brot bekommen.
Wenn es morgen nicht regnet, wollen wir mit dem Fahrrad in die Berge fahren und dort übernachten.
Meine Großmutter erzählte oft von dem Winter, in dem der See bis auf den Grund gefroren war.
Ein Fuchs lief über die Straße und verschwand hinter dem Haus, bevor jemand ihn sehen konnte.""",
    "fr": """Hier soir, nous avons marché longtemps au bord de la rivière et les enfants jetaient des pierres dans l'eau.
Le boulanger du coin ouvre dès cinq heures du matin pour que les ouvriers aient leur pain.
S'il ne pleut pas demain, nous irons en vélo à la montagne et nous dormirons là-bas.
Ma grand-mère parlait souvent de l'hiver où le lac avait gelé jusqu'au fond.
Un renard traversa la route et disparut derrière la maison avant que quelqu'un pût le voir.""",
    "pl": """Wczoraj wieczorem długo szliśmy wzdłuż rzeki, a dzieci rzucały kamienie do wody.
Piekarz na rogu otwiera już o piątej rano, żeby robotnicy dostali świeży chleb.
Jeśli jutro nie będzie padać, pojedziemy rowerami w góry i tam przenocujemy.
Moja babcia często opowiadała o zimie, kiedy jezioro zamarzło aż do dna.
Lis przebiegł przez drogę i zniknął za domem, zanim ktokolwiek go zobaczył.""",
    "es": """Anoche caminamos mucho tiempo junto al río y los niños tiraban piedras al agua.
El panadero de la esquina abre a las cinco de la mañana para que los obreros tengan pan.
Si mañana no llueve, iremos en bicicleta a la montaña y dormiremos allí.""",
    "nl": """Gisteravond liepen we nog lang langs de rivier en de kinderen gooiden stenen in het water.
De bakker op de hoek gaat al om vijf uur 's ochtends open, zodat de arbeiders brood krijgen.
Als het morgen niet regent, gaan we met de fiets naar de bergen en slapen we daar.""",
}


def changed(text: str, r: random.Random) -> str:
    """3 % of the words, at least one, replaced."""
    parts = re.split(r"(\s+)", text)
    at = range(0, len(parts), 2)
    for i in r.sample(at, max(1, round(0.03 * len(at)))):
        parts[i] = r.choice(OTHERS)
    return "".join(parts)


def moved(text: str, r: random.Random) -> str:
    """One sentence put elsewhere; of a text of fewer than three sentences, one word."""
    parts = re.split(r"(?<=[.!?])\s+", text)
    sep = " "
    if len(parts) < 3:
        parts = text.split()
    piece = parts.pop(r.randrange(len(parts)))
    parts.insert(r.randrange(len(parts) + 1), piece)
    return sep.join(parts)


def headed(text: str, r: random.Random) -> str:
    """A line put in front."""
    return f"{r.choice(HEADERS)}\n\n{text}"


def other_language(r: random.Random) -> str:
    lines = ALONG[r.choice(list(ALONG))].split("\n")
    return " ".join(r.sample(lines, r.randint(1, 3)))


def junk(r: random.Random) -> str:
    """Something said over and over."""
    phrase = " ".join(r.sample(OTHERS, r.randint(3, 6)))
    return ". ".join([phrase] * r.randint(15, 40))


DUPLICATES = ("exact_duplicates", "near_duplicates")
REASONS: dict[str, Callable[[str], bool]] = {
    "copy": lambda rule: rule in DUPLICATES,
    "copy, other case": lambda rule: rule in DUPLICATES,
    "3 % of words": lambda rule: rule in DUPLICATES,
    "moved": lambda rule: rule in DUPLICATES,
    "header": lambda rule: rule in DUPLICATES,
    "boilerplate": lambda rule: rule not in ("", *DUPLICATES),
    "language": lambda rule: rule == "min_language",
    "repetition": lambda rule: rule not in ("", *DUPLICATES),
}


def plants(kept: list[str], count: int, rules: Rules, r: random.Random) -> list[tuple[str, str]]:
    """(kind, text), shuffled."""
    long = [text for text in kept if len(words(text)) >= max(rules.near_min_words, 20)]
    some = lambda texts: r.sample(texts, min(count, len(texts)))  # noqa: E731
    found = [("copy", text) for text in some(kept)]
    found += [("copy, other case", re.sub(r"\s+", "  ", text).upper()) for text in some(kept)]
    for kind, edit in (("3 % of words", changed), ("moved", moved), ("header", headed)):
        found += [(kind, edit(text, r)) for text in some(long)]
    for i in range(count):
        # A number of its own, or the second of its kind would be a duplicate.
        notice = r.choice(NOTICES).format(site=r.choice(SITES))
        found.append(("boilerplate", f"{notice}\n{r.choice(SITES)} {i}"))
        found.append(("language", f"{other_language(r)} {i}"))
        found.append(("repetition", f"{junk(r)} {i}"))
    size = 3 * int(rules.min_words or 3)
    for i in range(count):  # documents of their own: the beginning of a kept one behind words that are nobody's
        text = " ".join(r.choices(OTHERS, k=20)) + " and then " + " ".join(r.choice(kept).split()[:size]) + "."
        if i % 2:
            found.append(("footer", f"{text}\n{r.choice(FOOTERS)}"))
        else:
            found.append(("address", f"A mail from ann.{i}@north-wind{i}.net about {i} and 8.8.{i % 250}.8: {text}"))
    r.shuffle(found)
    return found


def measure(path: str, column: str, rules: Rules, count: int, limit: int, seed: int) -> None:
    r = random.Random(seed)
    train, valid = read.files(path)
    texts = list(read.texts(valid + train, column))
    if limit and len(texts) > limit:
        texts = r.sample(texts, limit)
    size = sum(len(text.encode()) for text in texts)
    here = Path(path)
    documents = [Document(text, here, i, 0) for i, text in enumerate(texts)]

    report = Report(rules, examples=1_000_000)
    clock = time.process_time()
    survivors = list(clean(documents, report))
    took = time.process_time() - clock
    exact = report.dropped["exact_duplicates"]
    near = report.shown.get("near_duplicates", [])
    true = 0
    for example in near:
        a, b = (shingles(words(texts[i]), rules.near_words) for i in (example.number, int(example.said.split(":")[1])))
        true += len(a & b) / len(a | b) >= (rules.near_similarity or 0.75) - 0.1
    lost = {rule: n for rule, n in report.dropped.items() if rule not in DUPLICATES}
    lost_total = sum(lost.values()) + len(near) - true
    say = lambda *parts: print(*parts, flush=True)  # noqa: E731
    say(f"\n{path}  {len(texts):,} documents, {size / 1e6:.2f} MB, {took:.1f} CPU s, {size / 1e6 / took:.2f} MB/CPU s")
    say(f"  natural duplicates: {exact} exact, {len(near)} near ({true} of them share "
        f"{(rules.near_similarity or 0.75) - 0.1:.2f} and more of their shingles)")  # fmt: skip
    unique = max(1, len(texts) - exact)
    say(f"  clean and lost: {lost_total} of {unique:,} = {lost_total / unique:.2%}  {dict(sorted(lost.items()))}")
    for rule in lost:
        for example in report.shown[rule][:2]:
            say(f"      {rule} {example.value:.3g} ({example.limit:g}) {example.said} {example.excerpt[:100]!r}")

    planted = plants([d.text for d in survivors], count, rules, r)
    mixed = documents + [Document(text, here, len(texts) + i, 0) for i, (_, text) in enumerate(planted)]
    report = Report(rules, examples=1_000_000)
    left = {d.number: d.text for d in clean(mixed, report)}
    why = {example.number: rule for rule, shown in report.shown.items() for example in shown}
    found: dict[str, list[bool]] = {}
    for number, (kind, text) in enumerate(planted, len(texts)):
        if kind == "footer":
            hit = number in left and left[number] == text.rpartition("\n")[0]
        elif kind == "address":
            hit = number in left and "north-wind" not in left[number] and not re.search(r"8\.8\.\d+\.8", left[number])
        else:
            hit = REASONS[kind](why.get(number, ""))
        found.setdefault(kind, []).append(hit)
    for kind in [*REASONS, "footer", "address"]:
        hits = found.get(kind, [])
        if hits:
            say(f"  {kind:18} {sum(hits):4} of {len(hits):4} found = {sum(hits) / len(hits):.1%}")
    again = sum(number < len(texts) for number in why) - (len(texts) - len(survivors))
    say(f"  clean documents lost only beside the plants: {again}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="PATH[:COLUMN]")
    parser.add_argument("--preset", default="notes", choices=list(PRESETS))
    parser.add_argument("--count", type=int, default=200, help="plants of each kind")
    parser.add_argument("--limit", type=int, default=0, help="documents a set, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rules = PRESETS[args.preset]
    check(rules)
    for one in args.sets:
        path, _, column = one.partition(":")
        measure(path, column or "text", rules, args.count, args.limit, args.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(f"\npeak memory {peak:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
