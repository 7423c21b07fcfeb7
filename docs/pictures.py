"""The pictures of the README: the window, driven by keys, over the runs and models of $LAB_HOME; nothing in them is made
up.

    uv run --with resvg-py python docs/pictures.py [NAME ...]

Used for docs/*.png: a root with the shipped models, a pretraining of seed 1 (with which train compares the newest other
one), a probes run, an index of the pocket world (start it in that root: search opens pocket.db of the folder it stands
in; rollouts shows the newest run of reinforcement, so without pocket-rlhf and pocket-play); for split and tokens
SmolLM2-135M-Instruct (lab import).
"""

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

import resvg_py

from tui.app import LabApp

HERE = Path(__file__).parent
# Keys as textual names them; "text is typed, a number waits seconds, !name opens a model in Chat, =name sets the theme.
WIDE, SMALL = (150, 42), (80, 24)
PICTURES: dict[str, tuple[tuple[int, int], list[str]]] = {
    "pipeline": (WIDE, ["3.0"]),
    "start": (WIDE, ["n", "20.0"]),
    "data": (WIDE, ["d", "30.0", "tab", "tab", "tab", *["j"] * 6, "1.0"]),
    "train": (WIDE, ["2", "3.0", "down", "space", "up", "1.5", "tab", "tab", *["left"] * 12, "1.0"]),
    "train-light": (WIDE, ["=lab-light", "2", "3.0"]),
    "train-small": (SMALL, ["2", "3.0"]),
    "chat": (WIDE, ["!pocket-base", "4.0", '"One day', "enter", "5.0", "ctrl+t", "escape", "up", *["left"] * 90, "1.0"]),
    "search": (
        WIDE,
        [
            "!pocket-search", "4.0", "f5", "1.0", '"0', *["tab"] * 8, '"pocket.db', "enter", "1.0",
            '"What is the job of Iris Lofentin?', "enter", "5.0",
            "ctrl+t", "escape", "up", "1.0",
        ],
    ),
    "rank": (
        WIDE,
        ["6", "1.0", "enter", "12.0", *"edcab", "enter", "2.0", *"caedb", "enter", "3.0", "c", "d", "equals_sign", "a", "1.0"],
    ),
    "gap": (WIDE, ["3", "3.0", "g", "3.0"]),
    "rollouts": (WIDE, ["3", "3.0", "home", "1.0", "right_curly_bracket", "1.0", *["comma"] * 2, "t", "2.0"]),
    "split": (
        WIDE,
        [
            "!pocket-base", "4.0", "f3", "1.0", '"SmolLM2', "enter", "12.0", '"The capital of France is', "enter", "25.0",
            "ctrl+t", "1.0",
        ],
    ),
    "tokens": (WIDE, ["5", "3.0", "s", "1.0", '"SmolLM2', "enter", "4.0", "right", "right", "right", "1.0"]),
}  # fmt: skip


async def take(name: str) -> str:
    """The SVG of one picture."""
    size, keys = PICTURES[name]
    app = LabApp()
    async with app.run_test(size=size, notifications=False) as pilot:
        await pilot.pause(1)
        for key in keys:
            if re.fullmatch(r"[\d.]+\.\d", key):
                await pilot.pause(float(key))
            elif key.startswith('"'):
                for char in key[1:]:
                    await pilot.press({" ": "space"}.get(char, char))
            elif key.startswith("!"):
                app.open_chat(key[1:])
            elif key.startswith("="):
                app.theme = key[1:]
            else:
                await pilot.press(key)
                await pilot.pause(0.05)
        return app.export_screenshot(title="lab")


def main() -> None:
    for name in sys.argv[1:] or PICTURES:
        os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()  # settings of its own: the theme is kept in them
        svg = asyncio.run(take(name))
        svg = re.sub(r"@font-face\s*{[^}]*}", "", svg).replace("Fira Code", "DejaVu Sans Mono")
        png = resvg_py.svg_to_bytes(
            svg_string=svg, zoom=0.85, font_dirs=["/usr/share/fonts"], font_family="DejaVu Sans Mono",
            monospace_family="DejaVu Sans Mono",
        )  # fmt: skip
        (HERE / f"{name}.png").write_bytes(bytes(png))
        print(HERE / f"{name}.png")


if __name__ == "__main__":
    main()
