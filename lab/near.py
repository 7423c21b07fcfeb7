"""Documents seen before: exactly, by a hash of their normalised text, or nearly, by MinHash in bands. No MLX.

MinHash: Broder 1997 ("On the resemblance and containment of documents"); bands: Indyk and Motwani 1998; both as FineWeb
uses them (Penedo et al. 2024, arXiv:2406.17557). Two documents that share a part s of their n-grams of words meet in at
least one of b bands of r hashes with probability 1 - (1 - s^r)^b:
  14 bands of 8, FineWeb's:  s = 0.6: 0.21   0.7: 0.56   0.75: 0.77   0.8: 0.92   0.85: 0.99
  18 bands of 6, for notes:  s = 0.6: 0.58   0.7: 0.90   0.75: 0.97   0.8: 1.00   0.85: 1.00

The signatures are datasketch's. With 14 bands its LSH took 5.0 KB and 69 us a document (60,000 short ones), the tables
here 1.6 KB and 16 us, so the tables are our own.
"""

import hashlib
import re
import unicodedata
import zlib

import numpy as np

from lab.errors import UserError

HASHES = 112
# Han and kana have no spaces between words: there a character counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
ASCII_WORD = re.compile(r"\w+", re.ASCII)


def normal(text: str) -> str:
    """The text as exact duplicates are compared: compatible forms, case and white space made one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The words as near-duplicates are compared: casefolded, without punctuation."""
    return (ASCII_WORD if text.isascii() else WORD).findall(text.casefold())


def shingles(words: list[str], n: int) -> set[str]:
    """All n-grams of words; of fewer than n words, the one that there is."""
    return {" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def available() -> bool:
    """Whether datasketch can be imported (it takes about a second, scipy comes along)."""
    try:
        import datasketch  # noqa: F401
    except ImportError:
        return False
    return True


class Exact:
    """The documents seen so far, by 16 bytes each."""

    def __init__(self) -> None:
        self._seen = dict[bytes, int]()

    def find(self, text: str, index: int) -> int | None:
        """The index under which the same text came before; None, and from now on it is known as `index`."""
        digest = hashlib.blake2b(normal(text).encode(), digest_size=16).digest()
        first = self._seen.setdefault(digest, index)
        return None if first == index else first


class Near:
    """The documents seen so far, by their MinHash signatures.

    `n` words a shingle; `bands` of `rows` hashes, at most 112 in all; a pair that meets in a band is near where the
    share of equal hashes, which estimates the share of common shingles (standard error 0.04 at 0.75), reaches
    `similarity`, or at once where that is None.
    """

    def __init__(self, n: int, bands: int, rows: int, similarity: float | None) -> None:
        try:
            from datasketch import MinHash
        except ImportError as error:
            raise UserError("near-duplicates need the extra `data`: uv sync --extra data") from error
        if bands * rows > HASHES:
            raise UserError(f"{bands} bands of {rows} hashes: at most {HASHES} hashes in all")
        self._n, self._rows, self._similarity = n, rows, similarity
        # crc32: 0.15 us a shingle where datasketch's own sha1 takes 2; the scheme mixes its bits further.
        self._blank = MinHash(num_perm=HASHES, scheme="affine32", hashfunc=zlib.crc32)
        self._bands = [dict[bytes, int]() for _ in range(bands)]
        self._signatures = dict[int, bytes]()

    def signature(self, words: list[str]) -> np.ndarray:
        """uint32 [112]."""
        blank = self._blank.copy()
        blank.update_batch([shingle.encode() for shingle in shingles(words, self._n)])
        return np.asarray(blank.hashvalues, dtype=np.uint32)

    def find(self, words: list[str], index: int) -> tuple[int, float] | None:
        """(index, similarity) of the nearest of the documents that this one repeats; None, and from now on it is known
        as `index`. In every band only the first document of its kind is remembered. A text without a word is near none."""
        if not words:
            return None
        mine = self.signature(words)
        raw, size = mine.tobytes(), 4 * self._rows
        keys = [raw[size * band : size * (band + 1)] for band in range(len(self._bands))]
        met = {table[key] for table, key in zip(self._bands, keys, strict=True) if key in table}
        alike = {other: float(np.mean(self._stored(other) == mine)) for other in met}
        best = max(alike, key=lambda other: (alike[other], -other), default=None)
        if best is not None and (self._similarity is None or alike[best] >= self._similarity):
            return best, alike[best]
        for table, key in zip(self._bands, keys, strict=True):
            table.setdefault(key, index)
        self._signatures[index] = raw
        return None

    def _stored(self, index: int) -> np.ndarray:
        return np.frombuffer(self._signatures[index], dtype=np.uint32)
