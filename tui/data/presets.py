"""Demonstrations of how language models behave, each with a sentence on what to watch for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tui.data.draws import Draw


@dataclass(frozen=True)
class Preset:
    """One demonstration. `chat` is asked of a chat model, `base` is completed by a base model; "" where it makes no sense.
    `temps`: one reply each at these temperatures; none: one as set."""

    name: str
    title: str
    watch: str
    chat: str = ""
    base: str = ""
    temps: tuple[float | None, ...] = ()  # None: as set
    ends: tuple[str, ...] = ()
    most: int | None = None  # tokens


def _lines(*lines: str) -> str:
    return "\n".join(lines)


PRESETS = (
    Preset(
        "decimals", "9.11 or 9.9?",
        "Is a wrong reply said as surely as a right one (ctrl+t)? There are three: alt+left, alt+right.",
        "Which is larger: 9.11 or 9.9? Answer in one sentence.",
        "Question: Which number is larger, 9.11 or 9.9? Answer:", temps=(None, None, None), ends=("Question:",), most=60,
    ),
    Preset(
        "strawberry", "How many r in strawberry?",
        "It sees tokens, not letters: w shows which, and why counting letters is hard.",
        "How many times does the letter r appear in the word strawberry?",
        "Question: How many times does the letter r occur in strawberry? Answer:", ends=("Question:",), most=60,
    ),
    Preset(
        "nobody", "Who is Orson Kovacs?",
        "The name is made up. Does it say so, or invent three lives? alt+left and alt+right show them.",
        "Who is Orson Kovacs?", "Question: Who is Orson Kovacs? Answer:", temps=(None, None, None),
        ends=("Question:",), most=80,
    ),
    Preset(
        "few-shot", "Few-shot: English to Korean",
        "Nobody asks for a translation: a large model takes the pattern; one that never read Korean cannot.",
        base=_lines("sea: 바다", "mountain: 산", "river: 강", "bread: 빵", "moon: 달", "tree: 나무", "rain: 비",
                    "salt: 소금", "winter: 겨울", "water:"), ends=("\n",), most=20,
    ),
    Preset(
        "rule", "Few-shot: a made-up rule",
        "The second word, then tet: does it take the rule, which stands nowhere but in the four examples?",
        base="tiger cap : cap tet | park harbor : harbor tet | flag yellow : yellow tet | onion pencil : pencil tet | "
        "marble cat :", temps=(0.0,), ends=("|",), most=12,
    ),
    Preset(
        "assistant", "An assistant by prompt",
        "A base model knows no turns. Shown a conversation it continues one: so it answers, right or wrong.",
        base="Human: Good morning. Assistant: Good morning! How can I help you? "
        "Human: What is the opposite of up? Assistant: Down. "
        "Human: What is the capital of Norway? Assistant: Oslo. "
        "Human: What is the capital of France? Assistant:", ends=("Human:",), most=60,
    ),
    Preset(
        "temperature", "Temperature 0 and 1",
        "Of four replies the two at 0 are the same, the two at 1 are not: alt+left, alt+right.",
        "Describe a walk by the sea.", "One day", temps=(0.0, 0.0, 1.0, 1.0), most=60,
    ),
    Preset(
        "by heart", "A text it may know by heart",
        "Word for word, and near 1 all the way (ctrl+t)? That is memory. Else it makes something up.",
        base="All human beings are born free and equal in dignity and", temps=(0.0,), most=60,
    ),
    Preset(
        "at once", "A sum without working it out",
        "How sure is it of each digit (ctrl+t)? Ask for the steps first, and compare.",
        "What is 23 times 17? Answer with the number only.",
        "Question: What is 47 plus 38? Answer:", temps=(0.0,), ends=("Question:",), most=40,
    ),
    Preset(
        "self", "Who made you?",
        "It has no self to look into: this is what its training says most often.",
        "Who are you, and who made you?", "Human: Who are you? Assistant:", temps=(None, None), ends=("Human:",), most=60,
    ),
)  # fmt: skip


def fitting(chats: bool) -> Iterator[Preset]:
    """Those for a chat model, or for a base model."""
    return (preset for preset in PRESETS if (preset.chat if chats else preset.base))


def named(name: str) -> Preset | None:
    return next((preset for preset in PRESETS if preset.name == name), None)


def several(preset: Preset, draw: Draw) -> list[Draw]:
    """The settings of its replies, of which there is one each."""
    most = draw.max_tokens if preset.most is None else preset.most
    temps = preset.temps or (None,)
    return [replace(draw, max_tokens=most, temp=draw.temp if temp is None else temp) for temp in temps]
