"""A journey that is on its way (`lab journey`), read from its file in the weights root."""

from lab.runs import alive, read_json, root
from lab.words import duration


def under_way() -> str:
    """'journey mine: stage 4 of 13, interrogate, about 32:10 left'; '' where none is walked now."""
    folder = root() / ".journeys"
    for path in sorted(folder.glob("*/journey.json")) if folder.is_dir() else ():
        told = read_json(path)
        at, number, of, left = (told.get(key) for key in ("at", "number", "of", "left"))
        if told.get("state") == "running" and at and alive(path.parent):
            place = f"stage {number} of {of}, {at}" if isinstance(number, int) else str(at)
            time = f", about {duration(float(left))} left" if isinstance(left, int | float) else ""
            return f"journey {path.parent.name}: {place}{time}"
    return ""
