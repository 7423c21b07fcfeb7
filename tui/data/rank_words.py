"""Ranking in words: pieces of (text, role), as in tui/data/rollout_words.py. No Textual."""

from rich.cells import cell_len

from lab.display import CONTROLS
from lab.letters import LETTERS, to_letters
from lab.rankings import PERSON, Ranking, read_file, text_of
from lab.words import duration
from tui.data.rank import Counts, Session
from tui.data.rank_hand import Hand, same, scored
from tui.data.rank_setup import Setup
from tui.data.rollout_words import Pieces, count, length

BIG = 32 << 20  # bytes of a file whose rankings are not counted before one begins


def ordinal(place: int) -> str:
    """0 is 1st."""
    number = place + 1
    return f"{number}{'th' if number % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def place_of(hand: Hand, option: int) -> str:
    """Where a reply stands: "1st", "2nd =" where it shares its place, "" where it is not placed. A place counts those that
    are better."""
    better = 0
    for group in hand.groups:
        if option in group:
            return ordinal(better) + (" =" if len(group) > 1 else "")
        better += len(group)
    return ""


def typed(hand: Hand) -> str:
    """What is placed as it is typed: "b d=a"."""
    return to_letters(hand.placed, hand.ties) + ("=" if hand.joined else "")


def by_scores(one: Ranking, scores: list[float]) -> str:
    """The order that scores give, as letters."""
    return " ".join(LETTERS[i] for i in sorted(range(len(scores)), key=lambda i: -scores[i]))


def half(value: float) -> str:
    """8 or 8.5"""
    return f"{value:.1f}".removesuffix(".0")


def share(part: tuple[float, int]) -> str:
    return f"{100 * part[0] / part[1]:.0f} %"


def prompt_title(session: Session, counts: Counts) -> str:
    """ "prompt 144 of 1,000" """
    hand = session.now
    if hand is None:
        return "prompt"
    done = counts.of - counts.left
    return "prompt" if not session.of else f"prompt {min(counts.of, done + 1):,} of {counts.of:,}"


def prompt_text(hand: Hand) -> str:
    return text_of(hand.prompt).translate(CONTROLS).strip()


def hint(hand: Hand) -> str:
    """What to press next."""
    left = hand.missing
    if not left:
        return "enter keeps it and goes on"
    if hand.joined:
        return f"which one is as good as {LETTERS[hand.placed[-1]]}?"
    if not hand.groups:
        return "press the letter of the best reply, then the next best ..."
    last = f"; {LETTERS[left[0]]} is left: enter keeps it last" if len(left) == 1 else ""
    return f"the next best? = ties it with {LETTERS[hand.placed[-1]]}{last}"


def lines(session: Session, counts: Counts, reveal: bool, width: int) -> list[Pieces]:
    """The pane below the replies: what is placed, how far one is, how far one agrees, what was ranked last."""
    hand = session.now
    found: list[Pieces] = []
    if hand is not None:
        order = typed(hand)
        found.append([("placed  ", "muted"), (order, "bold"), ("   " if order else "", ""), (hint(hand), "accent")])
    else:
        found.append([("placed  ", "muted"), ("-", "muted")])
    left = duration(counts.left * counts.seconds) if counts.seconds and counts.left else ""
    told: Pieces = [
        ("ranked  ", "muted"), (f"{counts.ranked:,}", "bold"), ("  pairs ", "muted"), (f"{counts.pairs:,}", "bold"),
        ("  left ", "muted"), (f"{counts.left:,}", "bold"),
    ]  # fmt: skip
    if counts.seconds is not None:
        told += [("  each ", "muted"), (f"{counts.seconds:.0f} s", "bold")]
    if left:
        told += [("  to go ", "muted"), (left, "bold")]
    if counts.skipped:
        told += [("  skipped ", "muted"), (f"{counts.skipped:,}", "bold")]
    told += [("  drawn ahead ", "muted"), (f"{len(session.ready)}", "bold")]
    found += [fitting(told, width), fitting(_agreement(session, counts), width), fitting(_last(session, reveal), width)]
    return found


def _agreement(session: Session, counts: Counts) -> Pieces:
    said: Pieces = [("agree   ", "muted")]
    if counts.repeat[1]:
        said += [("you with yourself ", "muted"), (share(counts.repeat), "bold"),
                 (f" of {count(counts.repeat[1], 'pair')}", "muted")]  # fmt: skip
    else:
        said += [("yourself after ten rankings", "muted")]
    if not session.judge:
        return [*said, ("   reward model: none yet", "muted")]
    name = session.judge.translate(CONTROLS)
    if counts.judge[1]:
        return [*said, (f"   {name} ", "muted"), (share(counts.judge), "bold"),
                (f" of {count(counts.judge[1], 'unseen pair')}", "muted")]  # fmt: skip
    return [*said, (f"   {name}: nothing to compare yet", "muted")]


def _last(session: Session, reveal: bool) -> Pieces:
    one = session.last
    if one is None:
        return [("last    ", "muted"), ("-", "muted")]
    said: Pieces = [("last    ", "muted"), (to_letters(one.order, one.ties), "bold")]
    if (first := session.first_of(one)) is not None:
        right, of = same(one, first)
        return [*said, ("   you had ranked this one before: ", "accent"), (f"{half(right)} of {of} pairs", "bold"),
                (" as then", "muted")]  # fmt: skip
    scores = session.scores.get(one.id)
    if scores is None or not one.pairs:
        return said
    if not reveal:
        return [*said, (f"   {session.judge.translate(CONTROLS)} is hidden; r shows its order", "muted")]
    right, of = scored(one, scores)
    return [*said, (f"   {session.judge.translate(CONTROLS)} ", "muted"), (by_scores(one, scores), "bold"),
            (f"   {half(right)} of {of} pairs as you", "muted")]  # fmt: skip


def fitting(said: Pieces, width: int) -> Pieces:
    """What fits into a line: pieces from its end go."""
    kept = list(said)
    while len(kept) > 1 and length(kept) > width:
        kept.pop()
    return kept


# -- before it begins --------------------------------------------------------------------------------------------------


def ranked_before(setup: Setup) -> str:
    """What the file holds."""
    try:
        if not setup.file.exists():
            return "a new file"
        if setup.file.stat().st_size > BIG:
            return "a large file"
        mine = [one for one in read_file(setup.file) if one.by == PERSON and one.order and not one.repeat]
    except Exception as error:  # whatever is wrong with it is said when one begins
        return " ".join(str(error).split())[:60]
    yours = [one for one in mine if one.model == setup.model.rpartition("/")[2]] or mine
    if not yours:
        return "none by you in it yet"
    return f"{count(len(yours), 'ranking')} by you, {sum(len(one.pairs) for one in yours):,} pairs: it goes on"


def start_lines(setup: Setup, judge: str, before: str, width: int) -> list[Pieces]:
    """The page before the first prompt."""
    rows = [
        ("model", setup.model, ""),
        ("prompts", setup.data or "jokes of the pocket world", f"{setup.prompts:,} of them at most"),
        ("replies", f"{setup.samples} to each", f"temperature {setup.temp:g}, seed {setup.seed}"),
        ("into", setup.out or setup.file.name, before),
        ("compared", judge or "no reward model yet", "hidden until you have ranked" if judge else "rank first"),
    ]
    found: list[Pieces] = [[("Rank", "bold")], []]
    for text in (
        "Several replies to one prompt, and you put them in order, best first.",
        "A reward model learns your taste from that, and RLHF trains towards it.",
    ):
        found.append([(text, "muted")])
    found.append([])
    room = max((cell_len(value.translate(CONTROLS)) for _, value, _ in rows), default=0)
    for name, value, more in rows:
        text = value.translate(CONTROLS)
        line: Pieces = [
            (f"{name:<10}", "muted"),
            (text, "bold"),
            (" " * (room - cell_len(text) + 2), ""),
            (more, "muted"),
        ]
        found.append(fitting(line, width))
    found += [[], [("enter", "accent"), (" begins   ", "muted"), ("m", "accent"), (" another model   ", "muted"),
              ("p", "accent"), (" prompts, file and the rest", "muted")]]  # fmt: skip
    return found
