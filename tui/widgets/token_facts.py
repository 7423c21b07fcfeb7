"""Two lines on the token that is pointed at: what it is, and what the other tokenizer has in its place."""

from textual.content import Content
from textual.widgets import Static

from tui.data.tokens import Book, Cut, about, hexed
from tui.widgets.tiles import Tiles

MUTED = "$foreground-muted"
MOST = 12  # tokens of the other side that are named


class TokenFacts(Static):
    """Below the panes."""

    def __init__(self, id: str | None = None):
        super().__init__(id=id, classes="pane")

    def show(self, here: Tiles, there: Tiles | None, span: tuple[int, int]) -> None:
        """The token under the cursor or mouse in `here`; of `there`, where there are two, the tokens [a, b) in `span`."""
        if here.made is None or here.book is None or here.under < 0:
            said = Content.styled("e  types a text" if here.book else "", MUTED)
        else:
            said = Content("\n").join([_token(here.book, here.made, here.under), _beside(here.made, there, span)])
        self.update(said, layout=False)  # its size is fixed, and a layout of the screen costs ten times as much


def _token(book: Book, made: Cut, at: int) -> Content:
    """The line on one token."""
    token = int(made.ids[at])
    spelling = book.tokenizer.token_bytes(token)
    parts: list[tuple[str, str]] = [
        (f"{at + 1:,} of {len(made):,}  ", MUTED), (book.piece(token), "bold $accent"), ("  id ", MUTED),
        (f"{token:,}", "bold"), ("  bytes ", MUTED), (hexed(spelling) or "none", ""),
    ]  # fmt: skip
    if len(made.ends):
        stretch = made.text.encode()[int(made.starts[at]) : int(made.ends[at])]
        if stretch != spelling:
            parts += [(" for ", MUTED), (hexed(stretch) or "none", "")]
        first, last = int(made.first[at]), int(made.last[at])
        several = last > first + 1
        parts.append(("  characters " if several else "  character ", MUTED))
        parts.append((f"{first:,}–{last:,}" if several else f"{first:,}", ""))
    elif made.weights is not None:
        trained = made.weights[at] > 0
        parts.append(("  trained", "$success") if trained else ("  not trained", MUTED))
    return Content.assemble(*parts, f"  {book.bits:.1f} bits  ", (about(book, token), MUTED))


def _beside(made: Cut, there: Tiles | None, span: tuple[int, int]) -> Content:
    """The line on the same stretch in the other tokenizer, or on what is seen, or what could be pressed."""
    if made.weights is not None:
        return Content.assemble(
            ("green", "$success"), (" is what training would learn, grey what it only reads; ", MUTED),
            ("special tokens", "$accent"), (" come from the template, never from what is typed", MUTED),
        )  # fmt: skip
    if there is None:
        return Content.styled("s  a second tokenizer beside this one     m  how a token was built", MUTED)
    if there.book is None or there.made is None or span[1] <= span[0]:
        return Content("")
    ids = there.made.ids[span[0] : span[1]].tolist()
    count = f"{len(ids)} tokens" if len(ids) > 1 else "1 token"
    pieces: list[tuple[str, str]] = [(f"{there.book.name} has {count} there:", MUTED)]
    for i in ids[:MOST]:
        pieces += [("  ", ""), (there.book.piece(i), "bold"), (f" {i:,}", MUTED)]
    return Content.assemble(*pieces, ("  …" if len(ids) > MOST else "", MUTED))
