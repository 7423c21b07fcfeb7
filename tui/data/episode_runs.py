"""Which runs wrote down what they tried. Apart from tui/data/rollouts.py, which brings the tokenizers along: rooms that only
ask this do without."""

import os

from lab.runs import Info

FOLDER = "episodes"  # as lab.episodes.FOLDER


def has(info: Info) -> bool:
    """Whether a run has written episodes."""
    try:
        with os.scandir(info.folder / FOLDER) as files:
            return any(file.name.endswith(".jsonl") for file in files)
    except OSError:
        return False
