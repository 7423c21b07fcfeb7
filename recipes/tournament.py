"""How well a model plays tic-tac-toe: against the teacher and the perfect player, at the blind spot, and as Elo."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from lab import weights
from lab.model import Shape, Transformer
from recipes.arena import Mind, Notation, Player, Watcher, contest, round_robin
from recipes.lessons import tictactoe
from recipes.lessons.tictactoe import CENTRE, CORNERS, EMPTY, Game

ROBIN = 200  # games of each pair of the round robin


class Selves:
    """Earlier selves: a run's own checkpoints, opened when they are first played against."""

    def __init__(self, folder: Path, form: Shape, writes: Notation):
        self.folder, self.form, self.writes = folder, form, writes
        self._open: dict[int, Mind] = {}

    def at(self, step: int) -> Mind:
        """The self after a step. UserError where its checkpoint is gone."""
        if step not in self._open:
            arrays = weights.load_arrays(self.folder / "checkpoints" / f"{step:06d}" / "model.safetensors")
            network = Transformer(self.form)
            network.load_weights(list(arrays.items()))
            self._open[step] = Mind(network, self.writes)
        return self._open[step]


class Rivals:
    """The teacher and the perfect player, whom every model of a run is measured against."""

    def __init__(self, skill: float, writes: Notation, seed: int):
        self.skill, self.seed = skill, seed
        self.plays = partial(tictactoe.teacher, skill=skill)
        self.teacher, self.perfect = Watcher(self.plays, writes), Watcher(tictactoe.perfect, writes)

    def figures(self, mind: Mind, games: int, draw: int = 0) -> dict[str, float]:
        """Scores (wins less losses a game) and shares of games, both sides equally often, and the probability of the move
        in the teacher's blind spot. Another `draw`, other games."""
        r = np.random.default_rng([self.seed, draw])
        found: dict[str, float] = {}
        for name, other in (("teacher", self.teacher), ("perfect", self.perfect)):
            told = contest(mind, other, games, r)
            found |= {f"{name}_score": told.score, f"{name}_lost": told.lost, f"illegal_{name}": told.illegal}
        return found | {"blind_spot": blind_spot(mind)}

    def exact(self) -> float:
        """The teacher's score against the perfect player."""
        as_x = tictactoe.expected(EMPTY, self.plays, tictactoe.perfect)
        return (as_x - tictactoe.expected(EMPTY, tictactoe.perfect, self.plays)) / 2

    def rated(self, minds: Mapping[str, Mind]) -> dict[str, float]:
        """Elo of the models, the teacher (0) and the perfect player, from a round robin."""
        players: dict[str, Player] = {"the teacher": self.teacher, **minds, "the perfect player": self.perfect}
        r = np.random.default_rng([self.seed, 1 << 32])
        return dict(zip(players, tictactoe.elo(*round_robin(list(players.values()), ROBIN, r)), strict=True))

    def table(self, rows: Mapping[str, Mapping[str, float]], games: int) -> str:
        """`figures` side by side, the teacher above."""
        found, missed = tictactoe.worth(self.skill)
        lines = [f"{'':26}{'teacher':>9}{'perfect':>9}{'lost to it':>12}{'illegal':>9}{'centre after a corner':>23}"]
        lines.append(f"{'its teacher (exact)':26}{0:+9.2f}{self.exact():+9.2f}{'':12}{0:9.1%}{0:23.4f}")
        for name, told in rows.items():
            illegal = (told["illegal_teacher"] + told["illegal_perfect"]) / 2
            lines.append(
                f"{name:26}{told['teacher_score']:+9.2f}{told['perfect_score']:+9.2f}{told['perfect_lost']:12.1%}"
                f"{illegal:9.1%}{told['blind_spot']:23.4f}"
            )
        lines.append(
            f"scores: wins less losses a game against the teacher and the perfect player, {games:,} games each\n"
            f"the centre after a corner: worth {found:+.2f} to O, the best other reply {missed:+.2f} (exact, both then play "
            "like the teacher); against perfect play a draw and not a loss"
        )
        return "\n".join(lines)


def blind_spot(mind: Mind) -> float:
    """The probability of the centre after a corner, mean of the four."""
    return float(np.mean([mind.view(Game((corner,)))[CENTRE] for corner in CORNERS]))
