"""The settings file: what is right in it is used, what is wrong is said."""

import pytest

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
    ],
)
def test_a_broken_file_is_said_and_left_out(text: str, said: str) -> None:
    settings.path().parent.mkdir(parents=True)
    settings.path().write_text(text)
    read = settings.load()
    assert said in read.wrong[0]
    assert read.theme == "lab-dark"


def test_terminals_that_break_braille_get_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.glyphs(settings.Settings()) == "braille"
    monkeypatch.setenv("TERM_PROGRAM", "Apple_Terminal")
    assert settings.glyphs(settings.Settings()) == "block"
    assert settings.glyphs(settings.Settings(glyphs="braille")) == "braille"
