"""Rollouts: for any step of reinforcement learning the prompts, what the model tried, what each try earned, token by token."""

import json
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from tui.data.details import details
from tui.data.rollout_chat import handed, model_at
from tui.data.rollout_rows import HEATS
from tui.data.rollouts import ORDERS
from tui.screens.rollout_gap import GapRoom
from tui.widgets.board import Board
from tui.widgets.filter import Filter
from tui.widgets.rollout_cards import Cards
from tui.widgets.rollout_panes import Groups, RunsWith, TokenWords
from tui.widgets.row_list import RowList

NEEDS_ROW = ("choose", "prompt", "order", "turn", "heat", "compare", "to_chat", "alternatives")


class RolloutsScreen(GapRoom):
    """What keys do."""

    AUTO_FOCUS = "#mine"
    HELP = """
# Rollouts

What a model tried at a step of reinforcement learning. Left the prompts of the step, right the replies to the chosen one:
green frames earned more than the mean of their group, red ones less; below each stand the parts of its reward.

`{` `}` a step back or on, `home` `end` the first and the newest, `L` follows a run that goes on. `,` `.` the prompt before
and the next, `j` `k` the replies, `←` `→` the tokens of one. `s` sorts (`S` the other way round: the worst first), `/`
filters by a regular expression, `t` colours tokens, `v` puts another step or run beside it (`<` `>` go through them).

`e` takes the prompt to Chat, `a` the reply up to the token under the cursor, to see what else its model held probable
there. `y` copies the reply as JSON. `(` `)` walk through a game. `r` shows the lists where there is no room for them. `g`,
where somebody judged beside a reward model, shows where the two part.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "choose(1)", "Next reply", id="rollouts.next", key_display="j"),
        Binding("k", "choose(-1)", "Reply before", id="rollouts.before", key_display="k"),
        Binding("full_stop", "prompt(1)", "Next prompt", id="rollouts.prompt_next", key_display="."),
        Binding("comma", "prompt(-1)", "Prompt before", show=False, id="rollouts.prompt_before", key_display=","),
        Binding("left_curly_bracket", "step(-1)", "Step back", id="rollouts.step_before", key_display="{"),
        Binding("right_curly_bracket", "step(1)", "Step on", id="rollouts.step_next", key_display="}"),
        Binding("s", "order", "Sort", id="rollouts.order", tooltip="by reward, advantage, length, surprise"),
        Binding("t", "heat", "Heat", id="rollouts.heat", tooltip="log-probability, minus the reference, advantage"),
        Binding("g", "gap", "Gap", id="rollouts.gap", tooltip="reward model against the judge that it stands for"),
        Binding("v", "compare", "Compare", id="rollouts.compare", tooltip="the prompt at another step or in another run"),
        Binding("slash", "filter", "Filter", id="rollouts.filter", key_display="/", tooltip="by a regular expression"),
        Binding("L", "follow", "Follow", id="rollouts.follow", tooltip="the newest step of a run that goes on"),
        Binding("e", "to_chat", "To Chat", id="rollouts.chat", tooltip="the prompt, for the model of this step"),
        Binding("a", "alternatives", "Alternatives", id="rollouts.alternatives", tooltip="go on from the token, in Chat"),
        Binding("S", "turn", "Sort the other way round", show=False, id="rollouts.turn"),
        Binding("home", "edge(0)", "First step", show=False, id="rollouts.first"),
        Binding("end", "edge(-1)", "Newest step", show=False, id="rollouts.newest"),
        Binding("less_than_sign", "elsewhere(-1)", "Compare with the place before", show=False, id="rollouts.elsewhere_before"),
        Binding("greater_than_sign", "elsewhere(1)", "Compare with the next place", show=False, id="rollouts.elsewhere_next"),
        Binding("left_parenthesis", "move(-1)", "Move of the game before", show=False, id="rollouts.move_before"),
        Binding("right_parenthesis", "move(1)", "Next move of the game", show=False, id="rollouts.move_next"),
        Binding("r", "lists", "Runs and prompts", show=False, id="rollouts.lists"),
        Binding("m", "curves", "Curves of the run", show=False, id="rollouts.curves", tooltip="in Train"),
    ]  # fmt: skip

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._repaint())

    def _repaint(self) -> None:
        """Colours changed."""
        self.mine.warm(self.heat)
        self.theirs.warm(self.heat)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in NEEDS_ROW:
            return True if self.groups and self.step is not None else None
        if action in ("step", "edge", "follow", "filter", "curves", "lists"):
            return True if self.shelf is not None else None
        if action == "gap":
            return self.judged
        if action == "elsewhere":
            return True if self.comparing and self.places else None
        if action == "move":
            return True if self.played else None
        return super().check_action(action, parameters)

    # -- going about ---------------------------------------------------------------------------------------------

    def action_choose(self, by: int) -> None:
        """Another reply of this prompt."""
        cards = self.cards
        cards.choose(cards.chosen + by)
        self._picked(cards)

    def _picked(self, cards: Cards) -> None:
        if cards is self.mine and cards.one:
            self.member = cards.one.brief.k
        self.show_board()
        self.refresh_bindings()

    @on(Cards.Picked)
    def _card_clicked(self, message: Cards.Picked) -> None:
        self._picked(message.cards)

    @on(Cards.Looked)
    def _looked(self, message: Cards.Looked) -> None:
        self.query_one(TokenWords).show(message.one, message.place, self.heat)

    def action_prompt(self, by: int) -> None:
        """Another prompt of this step."""
        self._go(max(0, min(len(self.groups) - 1, self.group + by)))

    def _go(self, group: int) -> None:
        if group != self.group:
            self.group, self.member = group, 0
            self.show_groups()
            self.mine.chosen = 0
            self.show_group()
            self.mine.scroll_home(animate=False)

    @on(RowList.Moved, "#groups")
    def _group_moved(self, message: RowList.Moved) -> None:
        if message.place < len(self.groups):
            self._go(message.place)
            if message.opened:
                self.remove_class("-list")
                self.mine.focus()

    def action_step(self, by: int) -> None:
        """A step back or on."""
        steps = self.shelf.steps if self.shelf else []
        if steps:
            at = steps.index(self.wanted) if self.wanted in steps else len(steps) - 1
            self.go_to(steps[max(0, min(len(steps) - 1, at + by))])

    def action_edge(self, place: int) -> None:
        """The first step, or the newest."""
        if self.shelf and self.shelf.steps:
            self.go_to(self.shelf.steps[place])

    def action_follow(self) -> None:
        """Go on to each new step as it comes, or stay where it is."""
        self.follows = not self.follows
        if self.follows and self.shelf and self.shelf.steps:
            self.read(self.shelf.steps[-1])
        self._tell()

    # -- how it is shown -----------------------------------------------------------------------------------------

    def action_order(self) -> None:
        """As drawn, by reward, by advantage, by length, by surprise; by what judges said where there are some."""
        orders = [*ORDERS, *(self.step.judges if self.step else [])]
        at = orders.index(self.order) if self.order in orders else 0
        self.order, self.turned = orders[(at + 1) % len(orders)], False
        self._again()

    def action_turn(self) -> None:
        """The same order from its other end."""
        self.turned = not self.turned
        self._again()

    def _again(self) -> None:
        """The first of the new order is what one wants to see."""
        self.member = -1
        self.show_cards()
        self.mine.choose(0)
        self._picked(self.mine)
        self.show_other()

    def action_heat(self) -> None:
        """Colours of tokens: none, log-probability, minus the reference, what they are trained with."""
        self.heat = HEATS[(HEATS.index(self.heat) + 1) % len(HEATS)]
        self._repaint()
        words = self.query_one(TokenWords)
        words.show(words.one, words.place, self.heat)
        self._tell()

    def action_filter(self) -> None:
        """Type a pattern."""
        self.query_one("#rollout-filter", Filter).open()

    @on(Filter.Left)
    def _filter_left(self) -> None:
        self.mine.focus()

    def action_compare(self) -> None:
        """The same prompt elsewhere, in a second column; or one column again."""
        if self.comparing:
            self.leave_comparison()
            self.mine.focus()
            self.show_cards()
        else:
            self.comparing = True
            self.add_class("-two")
            self.show_group()
        self._tell()
        self.refresh_bindings()

    def action_elsewhere(self, by: int) -> None:
        """The place before, or the next one."""
        self.compare_with(self.place + by)

    def action_move(self, by: int) -> None:
        """A move of the game back or on."""
        self.query_one(Board).action_walk(by)

    def action_lists(self) -> None:
        """Runs and prompts, or the replies again."""
        if self.has_class("-tiny"):
            self.toggle_class("-list")
            (self.query_one(Groups) if self.has_class("-list") else self.mine).focus()
        elif isinstance(self.focused, RunsWith):
            self.query_one(Groups).focus()
        else:
            self.query_one(RunsWith).focus()

    # -- to other rooms ------------------------------------------------------------------------------------------

    def action_curves(self) -> None:
        """The run's curves."""
        if self.info:
            self.lab.open_train(self.info.name)

    def action_to_chat(self) -> None:
        """The prompt, to be sent."""
        self._hand(None)

    def action_alternatives(self) -> None:
        """The reply up to the token under the cursor; its model goes on from there, and Chat shows what else it might say."""
        place = self.cards.place
        if self.chosen and not self.chosen.tokens:
            self.lab.say(self.chosen.why or "this reply has no tokens", "warning", 4)
        elif place is None:
            self.lab.say("walk to a token first: left and right", "warning", 3)
        else:
            self._hand(place)

    def _hand(self, tokens: int | None) -> None:
        one, info = self.chosen, self.info
        folder = self.other[0].folder if self.cards is self.theirs and self.other else None
        number = self.other[0].step if folder and self.other else self.wanted
        info = next((i for i in self.infos if i.folder == folder), info) if folder else info
        if one is None or info is None:
            return
        model = model_at(info, number, details(info.folder).checkpoints)
        if not model:
            self.lab.say(f"{info.name} has saved no weights yet", "warning", 4)
            return
        self.lab.hand_to_chat(handed(one, model, tokens))
        self.lab.say(f"{model}: the weights nearest to step {number:,} that were kept", timeout=4)

    def action_copy_pane(self) -> None:
        """The selected text; else the chosen reply's row as JSON; in the lists what they say."""
        one = self.chosen
        if one is None or self.get_selected_text() or isinstance(self.focused, RunsWith):
            super().action_copy_pane()
            return
        text = json.dumps(one.row, ensure_ascii=False)
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied the row as JSON, {len(text):,} characters", timeout=2)
