"""Around the cards: what was asked, the groups of a step and their figures, and a token in words."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from lab.display import CONTROLS
from lab.runs import Info
from tui.data.facts import state_mark
from tui.data.rollout_rows import Told, asked, said
from tui.data.rollout_words import ROLES, Pieces, fit, group_head, group_row, stats_lines, styled, token_lines
from tui.data.rollouts import Group, Step
from tui.data.watch import LIVE
from tui.widgets.facts import content, put
from tui.widgets.row_list import RowList

ROLE_STYLES = {"user": "$primary", "assistant": "$success", "system": "$foreground-muted"}


class RunsWith(RowList):
    """The runs that have episodes."""

    HELP = "## Runs\nThose that wrote down what they tried. `↑` `↓` shows another one, `enter` goes to its prompts."

    def fill(self, infos: Sequence[Info], shown: int) -> None:
        """These, one of them shown."""
        self.border_title = Content("runs")

        def draw(at: int, width: int) -> Pieces:
            info = infos[at]
            glyph, style = state_mark(info)
            role = next((name for name, value in ROLES.items() if value == style), "muted")
            more = f"{100 * info.step // info.total} %" if info.state in LIVE and info.total else info.state
            return [(f"{glyph} ", role), (fit(info.name, max(4, width - 3 - len(more))), "bold" if at == shown else ""),
                    (f" {more}", "muted")]  # fmt: skip

        self.show(len(infos), shown, draw)


class Groups(RowList):
    """The prompts of a step, each with what its replies earned."""

    HELP = """
## Prompts

Mean reward with a bar, the spread within the group, how many replies are right, calls a reply; `retry`, where any reply took
an attempt back in its thought: how often a reply did. `same` in the colour of warnings: all earned the same, so nothing is
learned from that group. `↑` `↓` (anywhere `,` `.`) go from prompt to prompt, `enter` goes to the replies, `{` `}` a step
back or on.
"""

    def __init__(self, id: str):
        super().__init__(id, head=True)

    def fill(self, title: str, groups: Sequence[Group], shown: Sequence[int], cursor: int) -> None:
        """These groups; `shown` counts the rows of each that the filter lets through."""
        self.border_title = Content(title)
        means = [group.mean for group in groups if group.mean is not None]
        retries = any(group.retries for group in groups)
        rights = any(group.right is not None for group in groups)
        reach = (min(0.0, *means, 0.0), max(1.0, *means, 1.0)) if means else (0.0, 1.0)

        def draw(at: int, width: int) -> Pieces:
            if at < 0:
                return group_head(width, retries, rights)
            return group_row(groups[at], shown[at], reach, width, retries)

        self.show(len(groups), cursor, draw)


class StepFacts(VerticalScroll):
    """Figures of the step."""

    HELP = "## The step\nMeans over all replies. Groups without a spread teach nothing: all right, or all wrong."

    def compose(self) -> ComposeResult:
        yield Static(id="step-figures")

    def show(self, step: Step | None) -> None:
        """Bring it up to date."""
        self.border_title = Content("step" if step is None else f"step {step.number:,}")
        width = max(16, self.scrollable_content_region.width or 40)
        lines = stats_lines(step.stats, step.torn, width) if step else [[("reading …", "muted")]]
        put(self.query_one("#step-figures", Static), [styled(line) for line in lines])

    def copy_text(self) -> str:
        """What it says."""
        said_ = self.query_one("#step-figures", Static).content
        return said_.plain if isinstance(said_, Content) else ""


class Asked(VerticalScroll):
    """The prompt as a conversation, and the reference answer."""

    HELP = "## Prompt\nWhat all these replies answer, and the reference that the judge compares with."

    def compose(self) -> ComposeResult:
        yield Static(id="asked-text")

    def show(self, row: Mapping[str, Any] | None) -> None:
        """The prompt of a row."""
        lines: list[list[tuple[str, str]]] = []
        messages = asked(row) if row else []
        for message in messages:
            name = fit(message["role"], 9)
            alone = len(messages) == 1 and message["role"] == "user"
            role, words = ROLE_STYLES.get(message["role"], ROLES["muted"]), ROLES["bold" if alone else ""]
            for i, line in enumerate(said(message["content"]).split("\n")):
                head = [] if alone else [(name if i == 0 else " " * 9, role), (" ", "")]
                lines.append([*head, (line.expandtabs(4).translate(CONTROLS), words)])
        if row is not None:
            answer = str(row.get("answer") or "")
            label = ("reference ", ROLES["muted"])
            plain = answer.expandtabs(4).translate(CONTROLS) if answer else "none: its judge needs no one answer"
            lines.append([label, (plain, "bold $foreground" if answer else ROLES["muted"])])
        key = str(row.get("key") or "") if row else ""
        self.border_title = Content("prompt")
        self.border_subtitle = Content(fit(key, 40).rstrip()) if key else None
        put(self.query_one("#asked-text", Static), lines)

    def copy_text(self) -> str:
        """What it says."""
        said_ = self.query_one("#asked-text", Static).content
        return said_.plain if isinstance(said_, Content) else ""


class TokenWords(Widget):
    """Two lines on the token under the cursor or the mouse."""

    DEFAULT_CSS: ClassVar[str] = "TokenWords { height: 2; padding: 0 2; background: $surface; color: $foreground; }"

    def __init__(self, id: str):
        super().__init__(id=id)
        self.one: Told | None = None
        self.place: int | None = None
        self.heat = ""

    def show(self, one: Told | None, place: int | None, heat: str = "") -> None:
        """A token of a reply; None for none."""
        if one is not self.one or (place, heat) != (self.place, self.heat):
            self.one, self.place, self.heat = one, place, heat
            self.refresh()

    def render(self) -> Content:
        width = self.content_size.width or 200
        return content([styled(line) for line in token_lines(self.one, self.place, self.heat, width)])
