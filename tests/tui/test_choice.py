"""Which runs Train shows: the newest live one until the user chooses; what goes, comes, or gets another name."""

from pathlib import Path

from lab.runs import Info
from tui.data.choice import MOST, Choice, ordered


def info(name: str, state: str = "done", created: float = 0.0) -> Info:
    return Info(name, Path(name), "pretrain", state, 1, 10, "", None, created, {})


def names(choice: Choice) -> tuple[str | None, list[str], str | None]:
    return choice.shown, choice.overlaid, choice.pinned


def test_live_runs_stand_on_top_and_are_shown_until_the_user_chooses() -> None:
    runs = [info("waits", "queued"), info("new"), info("old"), info("pocket-base")]
    assert [i.name for i in ordered([info("a"), info("q", "queued"), info("r", "running")])] == ["r", "q", "a"]
    choice = Choice()
    choice.see(ordered(runs[1:]))
    assert choice.shown == "new"
    choice.see(ordered(runs))
    assert choice.shown == "waits"
    choice.see(ordered([info("busy", "running"), *runs]))
    assert choice.shown == "busy"
    choice.see(ordered([info("busy", "done"), *runs[1:]]))
    assert choice.shown == "busy"  # it ended: still the one looked at
    choice.choose("old")
    choice.see(ordered([info("later", "running"), *runs]))
    assert choice.shown == "old"


def test_a_wanted_run_is_shown_when_it_comes() -> None:
    choice = Choice()
    choice.wanted = "coming"
    choice.see([info("a")])
    assert choice.shown == "a"
    choice.see([info("coming"), info("a")])
    assert choice.shown == "coming"
    choice.see([info("live", "running"), info("coming"), info("a")])
    assert choice.shown == "coming"


def test_a_deleted_run_gives_way_to_its_neighbour() -> None:
    choice = Choice()
    choice.see([info("a"), info("b"), info("c")])
    choice.choose("b")
    choice.toggle_overlay("a")
    choice.toggle_pin("b")
    choice.see([info("a"), info("c")])
    assert names(choice) == ("c", ["a"], None)
    choice.see([info("a")])
    assert names(choice) == ("a", ["a"], None)
    choice.see([])
    assert names(choice) == (None, [], None)
    choice.see([info("z", "running")])
    assert choice.shown == "z"


def test_a_renamed_folder_is_followed() -> None:
    choice = Choice()
    choice.see([info("a", created=5.0), info("b", created=4.0)])
    choice.choose("b")
    choice.toggle_pin("b")
    choice.toggle_overlay("b")
    colour = choice.colours["b"]
    choice.see([info("a", created=5.0), info("best", created=4.0)])
    assert names(choice) == ("best", ["best"], "best")
    assert choice.colours["best"] == colour


def test_colours_stay_and_no_two_shown_runs_share_one() -> None:
    choice = Choice()
    runs = [info(f"r{i}") for i in range(20)]
    choice.see(runs[5:])
    before = dict(choice.colours)
    choice.see(runs)
    assert {name: choice.colours[name] for name in before} == before
    choice.choose("r5")
    for name in ("r13", "r6", "r14", "r0"):
        assert choice.toggle_overlay(name)
    shown = choice.drawn
    assert len({choice.colours[name] % MOST for name in shown}) == len(shown) == 5
    assert choice.colours["r5"] == before["r5"]
    again = dict(choice.colours)
    assert choice.drawn == shown
    assert choice.colours == again


def test_the_pinned_run_is_first_and_eight_are_the_most() -> None:
    choice = Choice()
    choice.see([info(f"r{i}") for i in range(12)])
    choice.choose("r0")
    choice.toggle_pin("r3")
    assert choice.drawn == ["r3", "r0"]
    taken = [choice.toggle_overlay(f"r{i}") for i in range(4, 12)]
    assert taken == [True] * 6 + [False] * 2  # with the pinned and the shown one they are eight
    assert len(choice.drawn) == MOST
    assert choice.toggle_overlay("r4")  # off again
    assert "r4" not in choice.drawn
    choice.toggle_pin("r3")
    assert choice.pinned is None
