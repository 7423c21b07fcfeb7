"""Our two themes, the colours of runs and tokens, and heat: always blended with the theme's own background."""

from functools import lru_cache

from textual.app import App
from textual.color import Color
from textual.theme import Theme

# Grounds and borders are grey enough (saturation below 0.15) for rich to take a grey of 256 colours: Apple's Terminal
# before macOS 26 has no more, and a bluish dark grey came out as teal there.
LAB_DARK = Theme(
    name="lab-dark",
    primary="#7aa2f7",
    secondary="#5d6b98",
    accent="#f5a742",
    warning="#e0af68",
    error="#f7768e",
    success="#7fc98f",
    foreground="#d5d9e2",
    background="#121418",
    surface="#181b20",
    panel="#21252c",
    dark=True,
    variables={
        "border": "#30343e",
        "footer-key-foreground": "#f5a742",
        "footer-background": "#181b20",
        "block-cursor-background": "#2a2f5e",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#2a2d36",
        "input-selection-background": "#7aa2f7 30%",
        "foreground-muted": "#878e9e",
    },
)
LAB_LIGHT = Theme(
    name="lab-light",
    primary="#2f5fc4",
    secondary="#7485ad",
    accent="#b35a00",
    warning="#8a6100",
    error="#c0263f",
    success="#23793a",
    foreground="#1e2430",
    background="#faf9f6",
    surface="#f0efec",
    panel="#e6e4de",
    dark=False,
    variables={
        "border": "#c9c6bd",
        "footer-key-foreground": "#b35a00",
        "footer-background": "#f0efec",
        "block-cursor-background": "#cfdcf7",
        "block-cursor-foreground": "#10141c",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#e0e4ec",
        "input-selection-background": "#2f5fc4 25%",
        "foreground-muted": "#6a6f7a",
    },
)
THEMES = (LAB_DARK, LAB_LIGHT)

# Told apart by people with any kind of colour vision, as far as eight can be: Okabe and Ito (2008), "Color Universal
# Design", lightened for dark backgrounds; light themes darken them.
RUN_COLOURS = ("#56b4e9", "#f0902c", "#2fbf8f", "#e07fb8", "#efe05a", "#8f8df5", "#ef6a5a", "#b8c4d0")
TOKEN_COLOURS = ("#3f6fb5", "#2f8f6f", "#a8762a", "#8455a8", "#a84a5c", "#3c8796", "#7a8a34")


def background(app: App) -> Color:
    """The theme's background; black or white where the terminal's own is used."""
    theme = app.current_theme
    if theme.ansi or theme.background is None:
        plain = app.theme_variables.get("background", "")
        try:
            colour = Color.parse(plain)
        except Exception:  # "ansi_default" and the like
            return Color(0, 0, 0) if theme.dark else Color(255, 255, 255)
        return colour if colour.ansi is None else (Color(0, 0, 0) if theme.dark else Color(255, 255, 255))
    return Color.parse(theme.background)


def run_colour(index: int, app: App) -> str:
    """The colour of the run at a place in the list, stable while it stays there; darker on light themes."""
    colour = Color.parse(RUN_COLOURS[index % len(RUN_COLOURS)])
    return colour.hex if app.current_theme.dark else colour.blend(Color(0, 0, 0), 0.35).hex


def token_colour(index: int, app: App) -> str:
    """The background of a token in a row of tokens: neighbours differ."""
    return _mixed(
        TOKEN_COLOURS[index % len(TOKEN_COLOURS)], background(app).hex, 0.62 if app.current_theme.dark else 0.3
    )


def heat(p: float, app: App) -> str:
    """The background of a token with probability `p`: green where the model was sure, through yellow to red."""
    step = min(10, max(0, round((p if p == p else 0) * 10)))
    red, yellow, green = "#c2384e", "#b58a1e", "#2c8a4b"
    colour = Color.parse(red).blend(Color.parse(yellow), step / 5) if step <= 5 else None
    colour = colour or Color.parse(yellow).blend(Color.parse(green), (step - 5) / 5)
    return _mixed(colour.hex, background(app).hex, 0.55 if app.current_theme.dark else 0.35)


@lru_cache(maxsize=4096)
def _mixed(colour: str, ground: str, share: float) -> str:
    return Color.parse(ground).blend(Color.parse(colour), share).hex
