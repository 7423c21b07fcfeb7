"""The settings file: what is right in it is used, what is wrong is said."""

import pytest

from lab.errors import UserError
from tui import settings


def test_defaults_without_a_file() -> None:
    assert settings.load() == settings.Settings()


def test_what_was_set_is_kept() -> None:
    settings.save(settings.Settings(theme="nord", glyphs="block", keys={"train.pause": "space"}))
    assert settings.load() == settings.Settings(theme="nord", glyphs="block", keys={"train.pause": "space"})
    assert settings.path().read_text().startswith("# Settings of `lab tui`")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme: [", "tui.yaml"),
        ("- a", "one `name: value` a line"),
        ("colour: red", "colour: red is not known"),
        ("glyphs: 7", "glyphs: 7"),
        ("[" * 999, "tui.yaml"),
        ("theme: \0", "tui.yaml"),
    ],
)
def test_a_broken_file_is_said_and_left_out(text: str, said: str) -> None:
    settings.path().parent.mkdir(parents=True)
    settings.path().write_text(text)
    read = settings.load()
    assert said in read.wrong[0]
    assert read.theme == "lab-dark"


def test_what_a_person_wrote_stays() -> None:
    """Comments, keys, unknown names, and what another window has set meanwhile."""
    settings.path().parent.mkdir(parents=True)
    real = settings.path().with_name("dotfiles.yaml")
    settings.path().symlink_to(real)
    real.write_text("# mine\ntheme: nord\nkeys:\n  train.pause: [f6, f7]  # both\n  go.train: 2\nfont: big\n")
    one, other = settings.load(), settings.load()
    assert one.keys == {"train.pause": "f6,f7", "go.train": "2"}
    one.glyphs = "block"
    settings.save(one)
    other.theme = "lab-light"
    settings.save(other)
    other.theme = "dracula"
    settings.save(other)
    assert settings.path().is_symlink()
    assert real.read_text() == (
        "# mine\ntheme: dracula\nkeys:\n  train.pause: [f6, f7]  # both\n  go.train: 2\nfont: big\nglyphs: block\n"
    )


@pytest.mark.parametrize("text", ["keys: [", "- a", "{glyphs: block, keys: {train.pause: f6}}", "theme: |\n  nord\n"])
def test_a_file_that_cannot_be_changed_is_left_alone(text: str) -> None:
    settings.path().parent.mkdir(parents=True)
    settings.path().write_text(text)
    read = settings.load()
    read.theme = "lab-light"
    with pytest.raises(UserError, match="settings last until you quit"):
        settings.save(read)
    assert settings.path().read_text() == text
    assert [p.name for p in settings.path().parent.iterdir()] == ["tui.yaml"]


def test_a_place_that_cannot_be_written_is_said() -> None:
    settings.path().parent.parent.mkdir(parents=True)
    settings.path().parent.write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        settings.save(settings.Settings())


def test_terminals_that_break_braille_get_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.glyphs(settings.Settings()) == "braille"
    monkeypatch.setenv("TERM_PROGRAM", "Apple_Terminal")
    assert settings.glyphs(settings.Settings()) == "block"
    assert settings.glyphs(settings.Settings(glyphs="braille")) == "braille"
