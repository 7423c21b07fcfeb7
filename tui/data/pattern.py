"""Patterns that people type into filters, kept to those that `re` matches at once.

It tries one way after the other, and no other thread runs meanwhile: /(a+)+$/ on forty letters takes hours. So no group may
be repeated, and few characters may.
"""

import re

MOST = 3  # repeats in one pattern: on a name of 60 letters some 60^3 ways
_GROUP = re.compile(r"\)[*+{]")
_REPEAT = re.compile(r"[*+{]|(?<![(*+}?])\?")
_PLAIN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.S)  # what is escaped, or stands in a class, repeats nothing


def pattern(source: str, ignore_case: bool = False) -> re.Pattern[str]:
    """The compiled pattern; re.error, in words, for one that is none or may take long."""
    bare = _PLAIN.sub("x", source)
    if _GROUP.search(bare):
        raise re.error("a repeated group may take for ever; repeat single characters")
    if len(_REPEAT.findall(bare)) > MOST:
        raise re.error(f"more than {MOST} repeats may take for ever")
    try:
        return re.compile(source, re.IGNORECASE if ignore_case else 0)
    except (OverflowError, RecursionError) as error:
        raise re.error("too long") from error
