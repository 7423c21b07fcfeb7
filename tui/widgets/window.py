"""Which part of the x axis is shown: zooming, panning and following a growing curve. No Textual."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass
class Window:
    """view: the range shown, None for all of it; follows: its end moves with the newest point."""

    view: Range | None = None
    follows: bool = True

    def show(self, view: Range | None, whole: Range, least: float) -> None:
        """Show `view`, cut to `whole` and no narrower than `least`; it follows if it reaches the end."""
        first, last = whole
        if view is not None:
            span = min(max(view[1] - view[0], least), last - first)
            start = min(max(view[0], first), last - span)
            view = None if span >= last - first else (start, start + span)
        self.follows = view is None or view[1] >= last - (last - first) * 1e-9
        self.view = view

    def now(self, whole: Range) -> Range | None:
        """The view once the curve has grown to `whole`."""
        if self.view is not None and self.follows and self.view[1] != whole[1]:
            self.view = (whole[1] - (self.view[1] - self.view[0]), whole[1])
        return self.view


def zoomed(view: Range, by: float, about: float) -> Range:
    """The view made `by` times as wide around a place that stays where it is."""
    return about - (about - view[0]) * by, about + (view[1] - about) * by


def panned(view: Range, share: float) -> Range:
    """The view moved by a share of its width."""
    by = share * (view[1] - view[0])
    return view[0] + by, view[1] + by
