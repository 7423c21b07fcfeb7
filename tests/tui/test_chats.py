"""What the chat knows without a screen: branches, files, search, demonstrations, settings, and a talk with a real model."""

import json
import os
import queue
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import UserError
from tests.conftest import REPO
from tui.data import chat_files, chats, demonstrations, draws, presets
from tui.data.chat_files import Saver, Shelf, dumps, loads, matching
from tui.data.chats import Chat, Node, Token, Tree
from tui.data.draws import Draw
from tui.data.talk import Talk

POCKET = REPO / "weights" / "pocket-base"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def said(text: str, kind: str = "text", p: float | None = 0.5) -> list[Token]:
    """Tokens of a reply, one a word."""
    words = [" " + word for word in text.split()]
    return [Token(i, w, w, kind, p, -0.7, ((i, w, 0.5), (i + 1, " or", 0.25))) for i, w in enumerate(words)]


def talk_tree() -> Tree:
    tree = Tree()
    asked = tree.add(Node("user", -1, "Who was Ada?"))
    first = tree.add(Node("assistant", asked, tokens=said("a countess"), model="m", stop="end", seed=7))
    tree.add(Node("assistant", asked, tokens=said("a machine"), model="m", stop="end"))
    tree.choose(first)
    more = tree.add(Node("user", first, "And then?"))
    tree.add(Node("assistant", more, stop="cancelled"))
    return tree


def chat_of(tree: Tree, id: str = "1-1") -> Chat:
    return Chat(id, 1.0, 2.0, {"a": tree}, {"a": "pocket-base"}, draws.as_dict(Draw(temp=0.5, seed=3)))


# -- branches ----------------------------------------------------------------------------------------------------------


def test_branches_lie_beside_each_other_and_nothing_is_lost() -> None:
    tree = talk_tree()
    assert tree.path() == [0, 1, 3, 4]
    assert tree.siblings(1) == [1, 2]
    assert tree.switch(1, 1) == 2
    assert tree.path() == [0, 2]
    assert tree.switch(2, 1) == 1  # round the end, and back to all that was said there
    assert tree.path() == [0, 1, 3, 4]
    edited = tree.add(Node("user", -1, "Who was Charles?"))
    assert tree.path() == [edited]
    tree.choose(2)
    assert tree.path() == [0, 2]
    assert tree.switch(2, -1) == 1
    assert tree.siblings(3) == [3]
    assert tree.switch(3, 1) == 2  # without siblings: those of the message before
    assert len(tree.nodes) == 6


def test_a_question_that_got_no_reply_is_not_told_again() -> None:
    tree = talk_tree()
    again = tree.add(Node("user", 4, "Well?"))
    assert tree.messages(again, "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who was Ada?"},
        {"role": "assistant", "content": " a countess"},
        {"role": "user", "content": "Well?"},
    ]
    tree.nodes[4].stop = "end"  # a model may say nothing; that is a reply
    assert len(tree.messages(again)) == 5
    silent = tree.add(Node("assistant", again, stop="failed", failed="no memory"))
    assert tree.messages(silent)[-1]["content"] == "Well?"


def test_pages_of_a_base_model_go_on_or_begin_anew() -> None:
    tree = Tree()
    first = tree.add(Node("user", -1, "One day"))
    reply = tree.add(Node("assistant", first, tokens=said("it rained.")))
    joined = tree.add(Node("user", reply, " Then", joins=True))
    assert tree.page(joined) == "One day it rained. Then"
    fresh = tree.add(Node("user", reply, "The capital of"))
    assert tree.page(fresh) == "The capital of"
    assert tree.page(first) == "One day"


def test_a_path_is_put_beside_another_tree() -> None:
    mine, other = talk_tree(), Tree()
    at = other.graft([mine.nodes[i] for i in mine.back(3)])
    assert [n.text for n in other.nodes] == ["Who was Ada?", " a countess", "And then?"]
    assert at == 2
    other.nodes[1].tokens.clear()
    assert mine.nodes[1].text == " a countess"  # a copy
    again = other.graft([mine.nodes[i] for i in mine.back(2)])
    assert (again, other.path()) == (3, [0, 3])
    assert other.graft([mine.nodes[0]]) == 0
    assert len(other.nodes) == 4


def test_an_alternative_takes_the_place_of_a_token() -> None:
    node = talk_tree().nodes[1]
    assert [t.id for t in chats.alternative(node, 1, 1)] == [0, 2]
    assert chats.alternative(node, 1, 1)[-1].p == 0.25
    assert chats.alternative(node, 1, 1)[-1].rank == 2
    assert node.tokens[1].rank == 1
    told = [{"id": 0, "piece": " a", "text": "A", "kind": "think"}]
    assert chats.retold(node.tokens[:1], told)[0][:4] == (0, " a", "A", "think")
    assert chats.retold(node.tokens, told) == node.tokens  # another reply's


# -- files -------------------------------------------------------------------------------------------------------------


def random_tree(r: random.Random) -> Tree:
    """Any tree that a chat could have become."""
    tree = Tree()
    for _ in range(r.randrange(1, 12)):
        parent = r.randrange(-1, len(tree.nodes))
        role = "user" if parent < 0 or tree.nodes[parent].role == "assistant" else "assistant"
        node = Node(role, parent, r.choice(["", "ä\n'\"\\", "漢字", "\x00 \u2028"]) if role == "user" else "")
        if role == "assistant":
            node.tokens = said(
                "so it is"[: r.randrange(9)], r.choice(["text", "think", "result"]), r.choice([None, 0.1])
            )
            before = tree.nodes[tree.nodes[parent].parent] if tree.nodes[parent].parent >= 0 else None
            node.prompt = (
                [*(before.prompt if before else []), *(t.id for t in before.tokens if before)] if before else []
            )
            node.prompt = node.prompt[: r.randrange(9)] + [r.randrange(99) for _ in range(r.randrange(4))]
            node.stop, node.page = r.choice(["end", "length", "lost"]), r.random() < 0.5
            node.edited = r.random() < 0.2
        tree.add(node)
    for _ in range(3):
        tree.choose(r.randrange(len(tree.nodes)))
    return tree


def test_whatever_was_said_is_read_as_it_was(home: Path) -> None:
    r = random.Random(1)
    for _ in range(60):
        tree = random_tree(r)
        for node in tree.nodes:  # pieces go by ids, as those of one tokenizer do
            node.pieces = [f"<{i}>" for i in node.prompt]
            node.tokens = [t._replace(piece=f"<{t.id}>") for t in node.tokens]
        chat = chat_of(tree)
        back = loads(dumps(chat))
        assert (back.id, back.models, back.sampling, back.title) == (chat.id, chat.models, chat.sampling, chat.title)
        assert back.trees["a"].path() == tree.path()
        for one, other in zip(back.trees["a"].nodes, tree.nodes, strict=True):
            assert vars(one) | {"saved": ""} == vars(other) | {"saved": ""}
        assert dumps(back) == dumps(chat)


def test_a_reply_that_was_on_its_way_is_read_as_lost(home: Path) -> None:
    tree = talk_tree()
    tree.nodes[4].stop = ""
    assert loads(dumps(chat_of(tree))).trees["a"].nodes[4].stop == "lost"
    tree.nodes[4].stop = "end"
    assert loads(dumps(chat_of(tree))).trees["a"].nodes[4].stop == "end"  # and nothing was kept of it


def test_broken_files_are_counted_and_never_a_traceback(home: Path) -> None:
    folder, good = chat_files.folder(), dumps(chat_of(talk_tree()))
    folder.mkdir()
    broken = [good[:cut] for cut in range(0, len(good) - 1, 37)]
    value = json.loads(good)
    for change in (
        {"version": 2}, {"version": "1"}, {"trees": []}, {"trees": {}}, {"models": 3}, {"created": "now"}, {"id": None},
        {"updated": 1e999}, {"sampling": 1}, {"trees": {"a": {"nodes": 1, "chosen": {}}}},
    ):  # fmt: skip
        broken.append(json.dumps(value | change))
    nodes = value["trees"]["a"]["nodes"]
    for name, bad in (
        ("role", "system"), ("parent", 7), ("parent", "0"), ("tokens", [[1]]), ("tokens", [["a"] * 7]),
        ("prompt", [0, [1], []]), ("facts", {"speed": "fast"}), ("content", None), ("prompt", "x"), ("tokens", 5),
        ("parent", -2),
    ):  # fmt: skip
        changed = [dict(node) for node in nodes]
        changed[1][name] = bad
        broken.append(json.dumps(value | {"trees": {"a": {"nodes": changed, "chosen": {}}}}))
    broken += ["[" * 100_000, "null", "[]", "\x00", "1e9"]
    for i, text in enumerate(broken):
        (folder / f"b{i}.json").write_text(text, encoding="utf-8")
    (folder / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (folder / "folder.json").mkdir()
    (folder / "good.json").write_text(good, encoding="utf-8")
    shelf = Shelf()
    assert [s.path.name for s in shelf.look()] == ["good.json"]
    assert shelf.skipped == len(broken) + 2
    with pytest.raises(UserError, match=r"b0\.json: no chat of this version"):
        chat_files.load(folder / "b0.json")
    with pytest.raises(UserError, match="cannot be read"):
        chat_files.load(folder / "never.json")
    odd = value | {"trees": {"a": {"nodes": nodes, "chosen": {"-1": 99, "0": "x", "1": 3}}}}
    assert loads(json.dumps(odd)).trees["a"].path()[0] == 0  # a choice that is none is as if there were none


def test_chats_are_listed_searched_and_deleted(home: Path) -> None:
    saver = Saver()
    for i, words in enumerate(["The sea", "A mountain", "the Sea again"]):
        tree = Tree()
        asked = tree.add(Node("user", -1, f"{words}\nsecond line"))
        tree.add(Node("assistant", asked, tokens=said("one branch")))
        tree.add(Node("assistant", asked, tokens=said(f"number {i} Straße")))
        saver.put(Chat(f"{i}", i, i, {"a": tree}, {"a": "pocket-base"}))
    saver.put(chats.fresh())  # nothing was said in it
    saver.flush()
    shelf = Shelf()
    found = shelf.look()
    assert [(s.title, s.turns, s.model) for s in found] == [
        ("the Sea again", 1, "pocket-base"), ("A mountain", 1, "pocket-base"), ("The sea", 1, "pocket-base"),
    ]  # fmt: skip
    assert [s.title for s, _ in matching(found, "sea SECOND")] == ["the Sea again", "The sea"]
    ((summary, around),) = matching(found, "number 1")
    assert summary.title == "A mountain"
    assert around == "number 1 Straße"
    assert matching(found, "nowhere") == []
    assert len(matching(found, " ")) == 3
    chat_files.delete(found[0].path)
    chat_files.delete(found[0].path)
    assert len(shelf.look()) == 2
    assert shelf.skipped == 0
    assert not [p for p in chat_files.folder().iterdir() if p.suffix != ".json"]


def test_the_last_state_is_what_is_saved_and_trouble_is_told(home: Path) -> None:
    saver, tree = Saver(), talk_tree()
    chat = chat_of(tree)
    for i in range(30):
        tree.add(Node("user", 1, f"again {i}"))
        saver.put(chat)
    saver.flush()
    assert len(chat_files.load(chat_files.folder() / "1-1.json").trees["a"].nodes) == 35
    shutil.rmtree(chat_files.folder())
    chat_files.folder().write_text("in the way")
    saver.put(chat)
    saver.flush()
    assert "the chat cannot be saved" in saver.trouble
    chat_files.folder().unlink()
    saver.put(chat)
    saver.flush()
    assert saver.trouble == ""


# -- demonstrations, settings, presets ---------------------------------------------------------------------------------


def test_two_windows_on_one_chat_lose_nothing(home: Path) -> None:
    mine, saver = chat_of(talk_tree(), "1-1"), Saver()
    saver.put(mine)
    saver.flush()
    theirs, other = chat_files.load(chat_files.folder() / "1-1.json"), Saver()
    theirs.trees["a"].add(Node("user", 4, "from the other window"))
    for _ in range(2):  # its own file, again and again
        other.put(theirs)
        other.flush()
    assert (theirs.id, other.parted) == ("1-1", "")
    mine.trees["a"].add(Node("user", 4, "from this window"))
    for _ in range(2):
        saver.put(mine)
        saver.flush()
    assert mine.id != "1-1"
    assert "another window" in saver.parted
    texts = {path.stem: chat_files.load(path).trees["a"].nodes[-1].text for path in chat_files.folder().glob("*.json")}
    assert texts == {"1-1": "from the other window", mine.id: "from this window"}
    # A copy made by hand is a chat of its own, whatever it says inside; and a file deleted meanwhile comes back.
    shutil.copy(chat_files.folder() / "1-1.json", chat_files.folder() / "copy.json")
    assert chat_files.load(chat_files.folder() / "copy.json").id == "copy"
    (chat_files.folder() / "1-1.json").unlink()
    other.put(theirs)
    other.flush()
    assert chat_files.load(chat_files.folder() / "1-1.json").trees["a"].nodes[-1].text == "from the other window"


def test_half_a_surrogate_pair_is_saved(home: Path) -> None:
    tree = Tree()
    tree.add(Node("user", -1, "half \ud83d, 한국어"))
    saver = Saver()
    saver.put(chat_of(tree))
    saver.flush()
    assert saver.trouble == ""
    assert chat_files.load(chat_files.folder() / "1-1.json").trees["a"].nodes[0].content == "half \ud83d, 한국어"


def test_demonstrations_are_rows_to_train_on(home: Path) -> None:
    tree = talk_tree()
    mended = tree.add(Node("assistant", 3, "She wrote a program. \u2028 漢", edited=True, stop="end"))
    assert demonstrations.add(tree.messages(mended, "Be brief.")) == (1, True)
    assert demonstrations.add(tree.messages(mended, "Be brief.")) == (1, False)
    assert demonstrations.add(tree.messages(mended)) == (2, True)
    with open(demonstrations.path(), "a") as file:
        file.write('{"messages": [{"role": "us')  # killed in the middle
    assert demonstrations.add(tree.messages(2)) == (3, True)
    rows = [
        json.loads(line) for line in demonstrations.path().read_text(encoding="utf-8").split("\n") if line.endswith("}")
    ]
    assert len(rows) == 3
    told = tree.messages(mended, "Be brief.")
    assert told[2]["content"] == " a countess"  # as a base model went on; a turn begins without the space
    assert rows[0] == {"messages": [*told[:2], told[2] | {"content": "a countess"}, *told[3:]]}
    assert rows[0]["messages"][-1] == {"role": "assistant", "content": "She wrote a program. \u2028 漢"}
    from lab import chat
    from lab.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(POCKET)
    ids, weights = chat.render(tokenizer, rows[0]["messages"])  # as a training reads it: replies alone are trained
    trained = [i for i, weight in zip(ids, weights, strict=True) if weight]
    assert tokenizer.decode(trained) == " a countess She wrote a program. \u2028 漢"
    for wrong in (tree.messages(0), tree.messages(4), [], [{"role": "assistant", "content": "x"}]):
        with pytest.raises(UserError, match="ends with a reply"):
            demonstrations.add(wrong)
    with pytest.raises(UserError, match="surrogate"):
        demonstrations.add([{"role": "user", "content": "a"}, {"role": "assistant", "content": "\ud800"}])
    assert len(demonstrations.path().read_bytes().splitlines()) == 4


def test_settings_are_what_sampling_takes() -> None:
    from lab.sample import Sampling

    assert Sampling(**Draw().sampling()) == Sampling()  # the same usual values
    typed = ["-1", "0", "0.5", "1", "2", "100", "nan", "inf", "", "x", "1e3", " 0.25 ", "-0", "1_0", "9" * 30]
    for name in Draw().sampling():
        for text in typed:
            try:
                value = draws.check(name, text)
            except UserError:
                continue
            assert Sampling(**{name: value}), (name, text)
    assert draws.check("temp", "0,7") == 0.7
    assert draws.check("max_tokens", "1,024") == 1024
    assert draws.check("seed", " ") is None
    for name, text in (
        ("temp", "-1"),
        ("top_p", "0"),
        ("top_k", "2.5"),
        ("seed", "-1"),
        ("seed", "x"),
        ("min_p", "1.1"),
    ):
        with pytest.raises(UserError, match=f"^{draws.RULES[name][0]}: .*, not {text}$"):
            draws.check(name, text)
    kept = Draw(
        temp=0.0, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.1, max_tokens=9, seed=4, system="Be kind."
    )
    assert draws.read(json.loads(json.dumps(draws.as_dict(kept)))) == kept
    assert draws.read({"temp": "hot", "top_p": 7, "seed": True, "system": 3, "more": 1}) == Draw()
    assert kept.brief() == "T 0 · top-p .9 · top-k 5 · min-p .1 · penalty 1.1 · seed 4"
    assert kept.draw_seed() == 4
    assert len({Draw().draw_seed() for _ in range(9)}) > 1


def test_every_demonstration_says_what_to_watch() -> None:
    for preset in presets.PRESETS:
        assert preset.watch.endswith((".", "?"))
        assert preset.chat or preset.base
        assert presets.named(preset.name) is preset
        made = presets.several(preset, Draw(max_tokens=300))
        assert len(made) == max(1, len(preset.temps))
        assert all(draw.max_tokens <= 300 for draw in made)
    assert {p.name for p in presets.fitting(True)} != {p.name for p in presets.fitting(False)}
    assert presets.named("nothing") is None


# -- a talk with a real model ------------------------------------------------------------------------------------------


@pytest.fixture
def talk(home: Path) -> Iterator[Talk]:
    """A talk with the pocket model; `talk.events` holds what it said."""
    shutil.copytree(POCKET, home / "pocket-base")
    shutil.copytree(POCKET, home / "pocket-chat")
    (home / "pocket-chat" / "chat_template.jinja").write_text(TEMPLATE)
    events: queue.Queue[dict[str, Any]] = queue.Queue()
    made = Talk(events.put)
    made.events = events  # type: ignore[attr-defined]
    yield made
    made.close()


def hear(talk: Talk, until: str = "", seconds: float = 60) -> list[str]:
    """Take events until all is quiet, or up to one that changed `until`."""
    changed, end = list[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        loading = any(side.state == "loading" for side in talk.sides.values())
        if not until and not talk.busy and not loading:
            return changed
        try:
            changed.append(talk.take(talk.events.get(timeout=0.1)))  # type: ignore[attr-defined]
        except queue.Empty:
            continue
        if until and changed[-1] == until:
            return changed
    raise AssertionError(f"not quiet: {talk.sides}")


def test_a_base_model_continues_and_branches(talk: Talk) -> None:
    talk.draw = Draw(max_tokens=30, seed=5)
    talk.load("a", "pocket-base")
    talk.send("One day Nina went to the")  # before the model is there
    hear(talk)
    tree, side = talk.tree("a"), talk.sides["a"]
    assert (side.state, side.chats, side.context, side.title) == ("ready", False, 512, "pocket-base")
    node = tree.nodes[1]
    assert (node.stop, node.page, node.model, len(node.tokens)) == ("length", True, "pocket-base", 30)
    assert node.facts["used"] == len(node.prompt) + 30
    for token in node.tokens:
        assert 0 < sum(p for _, _, p in token.top) <= 1.00001
        assert [p for _, _, p in token.top] == sorted((p for _, _, p in token.top), reverse=True)
        assert token.rank is None or token.top[token.rank - 1][2] == pytest.approx(token.p)
    # Another of the alternatives: the same up to there, that token, and the old reply as it was.
    before = [t.id for t in node.tokens]
    place = next(i for i, t in enumerate(node.tokens) if t.p and t.p < 0.6)
    other = next(i for i, (id, _, _) in enumerate(node.tokens[place].top) if id != node.tokens[place].id)
    talk.branch("a", 1, place, other)
    hear(talk)
    branch = tree.nodes[2]
    assert [t.id for t in branch.tokens[: place + 1]] == [*before[:place], node.tokens[place].top[other][0]]
    assert len(branch.tokens) > place + 1
    assert [t.id for t in tree.nodes[1].tokens] == before
    assert tree.path() == [0, 2]
    # The same seed gives the same reply, beside the old ones; it goes on where it was cut.
    talk.regenerate("a", 2)
    hear(talk)
    assert tree.siblings(3) == [1, 2, 3]
    assert [t.id for t in tree.nodes[3].tokens] == before
    talk.carry_on("a", 3)
    hear(talk)
    assert [t.id for t in tree.nodes[3].tokens[:30]] == before
    assert len(tree.nodes[3].tokens) > 30 or tree.nodes[3].stop == "end"
    talk.send(" And then", joins=True)
    hear(talk)
    page = talk.chat.trees["a"].page(4)
    assert page.startswith("One day Nina went to the")
    assert page.endswith(" And then")
    assert "".join(tree.nodes[5].pieces[1:]) == page
    # All of it is on the disk.
    talk.saver.flush()
    back = chat_files.load(chat_files.folder() / f"{talk.chat.id}.json")
    assert [n.text for n in back.trees["a"].nodes] == [n.text for n in tree.nodes]
    assert back.trees["a"].path() == tree.path()


def test_a_chat_model_sees_just_what_is_shown_and_a_stopped_reply_stays_usable(talk: Talk) -> None:
    from lab import chat
    from lab.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(POCKET)
    talk.draw = Draw(temp=1.0, max_tokens=200, system="Be brief.")
    talk.load("a", "pocket-chat")
    hear(talk)
    talk.send("Who are you? <|end|>")
    hear(talk, "tokens")
    talk.stop()
    hear(talk)
    tree = talk.tree("a")
    first = tree.nodes[1]
    assert (first.stop, first.page) == ("cancelled", False)
    assert 0 < len(first.tokens) < 200
    messages = [chat.Message(role=m["role"], content=m["content"]) for m in talk.messages("a", 0)]
    assert first.prompt == chat.prompt(tokenizer, messages)
    assert [tokenizer.piece(i) for i in first.prompt] == first.pieces
    assert [t.piece for t in first.tokens] == [tokenizer.piece(t.id) for t in first.tokens]
    assert first.text == tokenizer.decode_part([t.id for t in first.tokens])
    talk.send("Hello.")
    hear(talk)
    messages = [chat.Message(role=m["role"], content=m["content"]) for m in talk.messages("a", 2)]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    messages[2]["ids"] = [t.id for t in first.tokens]  # the very ids: words may be cut into others
    assert tree.nodes[3].prompt == chat.prompt(tokenizer, messages)
    # A thought, a search and a result, begun for it: the real kinds of real tokens.
    ids = [tokenizer.special[f"<|{name}|>"] for name in ("think", "/think", "search", "/search", "result", "/result")]
    word = tokenizer.encode(" Paris")[0]
    marked = (ids[0], word, ids[1], ids[2], word, ids[3], ids[4], word, ids[5])
    forced = [Token(i, "", "") for i in marked]
    talk._reply(talk.sides["a"], 2, Draw(max_tokens=3, temp=0.0), tokens=forced)
    hear(talk)
    kinds = [t.kind for t in tree.nodes[4].tokens[:9]]
    assert kinds == ["special", "think", "special", "special", "call", "special", "special", "result", "special"]
    assert len(tree.nodes[4].tokens) > 9


def test_two_models_on_one_message_and_a_killed_process(talk: Talk) -> None:
    talk.draw = Draw(temp=0.0, max_tokens=20)
    talk.load("a", "pocket-base")
    talk.send("The capital of France is")
    hear(talk)
    talk.compare("pocket-chat")  # is asked the same at once
    hear(talk)
    assert talk.tree("b").nodes[0].text == "The capital of France is"
    assert talk.tree("b").nodes[1].model == "pocket-chat"
    talk.send(
        "One day", several=[Draw(temp=0.0, max_tokens=9), Draw(temp=0.0, max_tokens=9), Draw(temp=1.0, max_tokens=9)]
    )
    hear(talk)
    for slot in ("a", "b"):
        replies = [talk.tree(slot).nodes[i] for i in talk.tree(slot).siblings(talk.tree(slot).path()[-1])]
        assert len(replies) == 3
        assert replies[0].text == replies[1].text
    talk.edit("a", 2, "One night")
    hear(talk)
    for slot in ("a", "b"):
        path = talk.tree(slot).path()
        assert talk.tree(slot).nodes[path[2]].content == "One night"
        assert len(talk.tree(slot).siblings(path[2])) == 2
    assert talk.client
    pid = talk.client._children[-1].process.pid
    talk.draw = Draw(max_tokens=400)
    talk.send("One day")
    hear(talk, "tokens")
    os.kill(pid, signal.SIGKILL)
    hear(talk, "model")
    assert {side.state for side in talk.sides.values()} == {"gone"}
    assert "was killed" in talk.sides["a"].words
    lost = talk.tree("a").last("assistant")
    assert lost is not None
    assert talk.tree("a").nodes[lost].stop == "lost"
    talk.regenerate("a", lost)  # loads the model again by itself
    hear(talk)
    assert talk.sides["a"].state == "ready"
    talk.single()
    assert list(talk.sides) == ["a"]
    talk.load("a", "no-such-model")
    hear(talk)
    assert talk.sides["a"].state == "failed"
    assert "no such" in talk.sides["a"].words
    talk.close()
    assert not talk.client.alive
    back = chat_files.load(chat_files.folder() / f"{talk.chat.id}.json")
    assert set(back.trees) == {"a", "b"}


def test_a_window_closed_in_a_reply_keeps_it_and_a_load_that_fails_says_so(talk: Talk) -> None:
    talk.load("a", "no-such-model")
    talk.send("One day")
    hear(talk)
    unasked = talk.tree("a").nodes[1]
    assert (unasked.stop, unasked.failed) == ("failed", "no-such-model was not loaded")  # nobody stopped it
    talk.load("a", "pocket-base")
    hear(talk)
    talk.draw = Draw(temp=0.0, max_tokens=450)
    talk.send("cold -> warm; big -> small; day -> night; up -> down; old ->")  # it never ends
    hear(talk, "tokens")
    talk.close()
    path = chat_files.folder() / f"{talk.chat.id}.json"
    node = chat_files.load(path).trees["a"].nodes[3]
    assert node.tokens
    assert node.stop == "cancelled"  # not lost: ctrl+b goes on
    written = path.stat().st_mtime_ns
    talk.close()
    talk.new()
    talk.saver.flush()
    assert path.stat().st_mtime_ns == written  # what did not change is not written, and stays where it was in the list


def test_a_chat_is_resumed_with_its_models(talk: Talk) -> None:
    talk.draw = Draw(temp=0.0, max_tokens=8)
    talk.load("a", "pocket-base")
    talk.send("One day")
    hear(talk)
    talk.compare("pocket-chat")
    hear(talk)
    old = talk.chat.id
    talk.new()
    assert talk.tree("a").path() == talk.tree("b").path() == []
    talk.send("The capital of France is")
    hear(talk)
    talk.single()
    talk.set_draw(Draw(temp=1.0))
    talk.saver.flush()
    assert len(Shelf().look()) == 2
    talk.resume(chat_files.load(chat_files.folder() / f"{old}.json"))
    hear(talk)
    assert {slot: side.title for slot, side in talk.sides.items()} == {"a": "pocket-base", "b": "pocket-chat"}
    assert talk.draw == Draw(temp=0.0, max_tokens=8)
    talk.send("again")
    hear(talk)
    assert [len(talk.tree(slot).path()) for slot in ("a", "b")] == [4, 4]
