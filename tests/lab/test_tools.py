"""Tools a model may call: hostile queries and files, and what no code gets out of the sandbox."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import tools
from lab.errors import UserError
from lab.index import build
from lab.tools import BROKEN, NOTHING, SILENT, Python, Search, cut, shown, snippet, terms
from tests.conftest import REPO

PASSAGES = [
    ("Papua New Guinea", "Papua New Guinea is a country in Oceania. Guinea pigs do not come from Guinea."),
    ("Guinea", "Guinea is a country in Africa. Its capital is Conakry."),
    ("Guinea", "The second passage about Guinea tells of its rivers."),
    ("Marie Curie", "She discovered two elements, polonium and radium, and won two Nobel prizes."),
    ("Bora Bora", "Bora Bora is an island."),
    ("Bora", "The bora is a wind."),
    ("Al", "Also known as aluminium, a light metal."),
    ("São Tomé", "A capital by the sea."),
    ("", "A passage without a title tells of kettles."),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "some.db"
    assert build(path, PASSAGES) == len(PASSAGES)
    return path


@pytest.fixture(scope="module")
def search(index: Path) -> Iterator[Search]:
    with Search(index) as search:
        yield search


# -- search --------------------------------------------------------------------------------------------------------------


def test_the_best_passage_comes_first_and_a_title_before_all(search: Search) -> None:
    assert search.count == len(PASSAGES)
    assert search("Guinea") == PASSAGES[1][1]
    assert [title for title, _ in search.find("guinea!", 3)] == ["Guinea", "Guinea", "Papua New Guinea"]
    assert search.find("guinea", 2) == PASSAGES[1:3]  # of one title as the document goes
    assert search("capital of Guinea") == PASSAGES[1][1]
    assert search("Bora Bora") == PASSAGES[4][1]  # a word said twice counts twice in a title
    assert search("bora") == "The bora is a wind."
    assert search("What is the capital of it?") == "São Tomé: A capital by the sea."  # only words that say something
    assert search("the of it is") != NOTHING  # unless there are no others
    assert search("sao tome").startswith("São Tomé: A capital")
    assert "Marie Curie: She discovered" in search("Who discovers radium?")  # by the stem


def test_two_words_are_looked_for_together(search: Search) -> None:
    """A name of which one word is somebody else's finds nobody; in a question any word may be missing."""
    assert search.find("Marie Curie")
    assert not search.find("Marie Smith")
    assert search.find("Who is Marie Smith?")
    assert search.find("Guinea capital"), "in the title and in the text"


def test_a_title_is_told_where_the_text_does_not_name_it(search: Search) -> None:
    assert search("Al") == "Al: Also known as aluminium, a light metal."
    assert search("kettles") == PASSAGES[-1][1]
    assert shown("", "x") == "x"
    assert shown("Gold!", "Of gold.") == "Of gold."


HOSTILE = [
    '"', '""', "'", "' OR 1=1 --", '") OR passages MATCH ("', "*", "Gui*", "^Guinea", "-Guinea", "+Guinea", "NOT Guinea",
    "Guinea AND", "AND OR NOT", "NEAR(Guinea country, 3)", "NEAR/2", "title : Guinea", "{title text}: x", "text:", "-title:x",
    "(", ")", "((((", "a OR (b", "\\", "%", "_", "__ _", "\0", "Guin\0ea", "\ud800", "\udfff Guinea", "Guinea\ud83d", "\n\r\t",
    ";DROP TABLE passages;", "passages", "rank:1", "?", "?1", ":a", "@a", "$a", "²", "½ Guinea", "İ", "ß", "🙂", "हिन्दी",
    "日本語", "\u202e", "\ufeff", "e\u0301", "a" * 1_000_000, "Guinea " * 150_000, '"' * 1_000_000, "x y " * 250_000,
    "(" * 100_000,
    " ".join(map(str, range(100_000))),
]  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
def test_no_query_breaks_a_search(search: Search, query: str) -> None:
    began = time.monotonic()
    said = search(query)
    assert time.monotonic() - began < 2
    assert 0 < len(said) <= search.limit
    assert said != BROKEN
    assert "Guinea" not in terms(query) or "Guinea" in said
    assert said == search(query)
    assert search("Bora") == "The bora is a wind."


@pytest.mark.parametrize("query", ["", "  ", "?!", "…", "zyzzyva", "\0"])
def test_nothing_is_found(search: Search, query: str) -> None:
    assert search(query) == NOTHING
    assert search.find(query) == []


def test_an_answer_is_never_longer_than_its_limit(tmp_path: Path) -> None:
    long = " ".join(f"Sentence {i} tells of {'iron' if i == 70 else 'tin'} and more." for i in range(100))
    build(
        tmp_path / "long.db", [("Metals", long), ("Metals", long.replace("Sentence", "Line")), ("x" * 700, "y" * 700)]
    )
    for limit in (1, 7, 40, 100, 500):
        for k in (1, 2, 5):
            with Search(tmp_path / "long.db", limit, k) as search:
                for query in ("iron", "metals", "tin", "x" * 700, "sentence 3"):
                    said = search(query)
                    assert 0 < len(said) <= limit
                    assert len(said.splitlines()) <= k
    with Search(tmp_path / "long.db", 120) as search:
        assert search("iron") == "Metals: " + " ".join(
            f"Sentence {i} tells of {'iron' if i == 70 else 'tin'} and more." for i in (68, 69, 70)
        )
    with Search(tmp_path / "long.db", 120, k=2) as search:
        assert len(search("metals tin").splitlines()) == 2


def test_snippets_are_whole_sentences_with_the_words_that_were_asked() -> None:
    text = "One is first. Two has iron. Three has iron and gold. Four is last."
    assert snippet(text, ["gold", "iron"], 30) == "Three has iron and gold."
    assert snippet(text, ["gold", "iron"], 40) == "Two has iron. Three has iron and gold."
    assert snippet(text, [], 13) == "One is first."
    assert snippet("no end of words here", [], 11) == "no end of"
    assert cut("abcdefghij", 4) == "abcd"
    assert cut("ab", 4) == "ab"


def test_whoever_asks_gets_the_same(index: Path, search: Search) -> None:
    """From eight threads at once, from another opening, and from an index built again."""
    queries = ["Guinea", "capital", "country in Africa", "elements", "nothing of it", "wind", "of"] * 20
    want = [search(query) for query in queries]
    said: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        said[number] = [search(query) for query in queries]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said[i] for i in range(8)] == [want] * 8
    build(index.with_name("again.db"), PASSAGES)
    with Search(index.with_name("again.db")) as again:
        assert [again(query) for query in queries] == want


def test_what_is_no_index_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "empty.db").write_bytes(b"")
    for name, table in (("other.db", "CREATE TABLE passages (title, text, key)"), ("bare.db", "CREATE TABLE x (a)")):
        with sqlite3.connect(tmp_path / name) as db:
            db.execute(table)
            if name == "bare.db":
                db.execute(f"PRAGMA application_id = {tools.APPLICATION}")
    for name in ("text.db", "empty.db", "other.db", "bare.db", "missing.db", "", "a\0b", "n" * 300):
        with pytest.raises(UserError, match="make one with lab index"):
            Search(tmp_path / name)


def test_an_index_that_breaks_says_so_and_one_that_is_locked_or_deleted_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    build(path, PASSAGES * 200)
    with Search(path) as search:
        want = search("Guinea")
        lock = sqlite3.connect(path)
        lock.execute("BEGIN EXCLUSIVE")
        assert search("Guinea") == want
        with Search(path) as second:  # opened under the lock
            assert second("Guinea") == want
        lock.close()
        build(path, [("Other", "Another index.")])  # a new file in the old one's place
        assert search("Guinea") == want
        path.unlink()
        assert search("Guinea") == want
    assert search("Guinea") == BROKEN  # closed
    build(path, PASSAGES * 200)
    with Search(path) as search:
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        assert {search(query) for query in ("Guinea", "capital", "wind")} <= {BROKEN, NOTHING}
        os.truncate(path, 100)
        assert search("Guinea") in (BROKEN, NOTHING)
    with pytest.raises(UserError, match="make one with lab index"):
        Search(path)


def test_no_question_changes_the_file(index: Path, search: Search) -> None:
    before = index.read_bytes()
    for query in HOSTILE[:60]:
        search(query)
    assert index.read_bytes() == before
    assert sorted(p.name for p in index.parent.iterdir() if p.name.startswith("some")) == ["some.db"]


# -- python --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def python() -> Iterator[Python]:
    with Python() as python:
        yield python


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("'strawberry'.count('r')", "3"),
        ("sum(c == 's' for c in 'mississippi')", "4"),
        ("48 * 17 + 3", "819"),
        ("2 ** 64", "18446744073709551616"),
        ("7 / 2", "3.5"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("round(10 / 3, 2)", "3.33"),
        ("-7 // 2, -7 % 3", "(-4, 2)"),
        ("sorted('hello')", "['e', 'h', 'l', 'l', 'o']"),
        ("'hello'[::-1]", "olleh"),
        ("len('Mississippi')", "11"),
        ("print(3)\nprint('four')", "3\nfour"),
        ("x = 4\nx * x", "16"),
        ("x = 4", SILENT),
        ("", SILENT),
        ("None", SILENT),
        ("print(1)\n2", "2"),
        ("''", SILENT),
        ("import math\nmath.sqrt(16)", "4.0"),
        ("{'a': 1}", "{'a': 1}"),
        ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nf(20)", "2432902008176640000"),
        ("'é🙂語'", "é🙂語"),
        ("[n for n in range(2, 30) if all(n % d for d in range(2, n))]", "[2, 3, 5, 7, 11, 13, 17, 19, 23, 29]"),
    ],
)
def test_answers(python: Python, code: str, said: str) -> None:
    assert python(code) == said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "Error: ZeroDivisionError: division by zero"),
        ("nothing", "Error: NameError: name 'nothing' is not defined"),
        ("'a' + 1", "Error: TypeError: "),
        ("x = [", "Error: SyntaxError: "),
        ("raise ValueError('two\\nlines')", "Error: ValueError: two lines"),
        ("[1][5]", "Error: IndexError: "),
        ("while True: pass", "Error: TimeoutError: over 1 s"),
        ("f = lambda: f()\nf()", "Error: RecursionError: "),
        ("'x' * 10 ** 9", "Error: MemoryError: too large"),
    ],
)
def test_errors_are_one_line(python: Python, code: str, said: str) -> None:
    told = python(code)
    assert told.startswith(said)
    assert "\n" not in told
    assert told == python(code)


def test_a_call_leaves_nothing_to_the_next(python: Python) -> None:
    assert python("kept = 5\nkept") == "5"
    assert python("kept").startswith("Error: NameError")
    assert python("import random\nrandom.random()") == python("import random\nrandom.random()")


SECRET = "swordfish-4711"
# Attempts to get out: each would show the secret, make a file called `escaped`, or speak to the test's server.
ESCAPES = [
    # files
    "open('escaped', 'w').write('x')",
    "open('{here}/escaped', 'w').write('x')",
    "open('/etc/passwd').read()",
    "open('{here}/secret.txt').read()",
    "open(0).read()",
    "open('/proc/self/environ').read()",
    "from pathlib import Path\nPath('{here}/escaped').write_text('x')",
    "from pathlib import Path\nPath('{here}/secret.txt').read_text()",
    "from pathlib import Path\nlist(Path('/').iterdir())",
    "import pathlib\npathlib.Path('{here}/escaped').mkdir()",
    "import io\nio.open('{here}/escaped', 'w')",
    "import io\nio.FileIO('{here}/secret.txt').read()",
    "import shutil\nshutil.copy('{here}/secret.txt', '{here}/escaped')",
    "import tempfile\ntempfile.NamedTemporaryFile(delete=False).name",
    "import codecs\ncodecs.open('{here}/secret.txt').read()",
    "import fileinput\nlist(fileinput.input('{here}/secret.txt'))",
    "import mmap",
    "import sqlite3\nsqlite3.connect('{here}/escaped').execute('create table a (b)')",
    "import os\nos.symlink('/etc/passwd', '{here}/escaped')",
    "import zipfile\nzipfile.ZipFile('{here}/escaped', 'w')",
    "import pickle\npickle.loads(b'cos\\nsystem\\n(S\"touch {here}/escaped\"\\ntR.')",
    "import linecache\nlinecache.getlines('{here}/secret.txt')",
    "import glob\nglob.glob('{here}/*')",
    # processes and the system
    "import os\nos.system('touch {here}/escaped')",
    "import os\nos.popen('cat {here}/secret.txt').read()",
    "import os\nos.fork()",
    "import os\nwhile True: os.fork()",
    "import os\nos.execv('/bin/sh', ['sh', '-c', 'touch {here}/escaped'])",
    "import os\nos.kill(os.getppid(), 9)",
    "import os\nos.environ['SECRET']",
    "import os\nos.getenv('SECRET')",
    "import os\nlist(os.environ.items())",
    "import os\nos.listdir('/')",
    "import os\nos.getcwd()\nos.chdir('{here}')\nos.listdir('.')",
    "import posix\nposix.system('touch {here}/escaped')",
    "import subprocess\nsubprocess.run(['touch', '{here}/escaped'])",
    "import subprocess\nsubprocess.Popen('cat {here}/secret.txt', shell=True, stdout=-1).communicate()",
    "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "import threading\nthreading.Thread(target=print).start()",
    "import concurrent.futures\nconcurrent.futures.ThreadPoolExecutor()",
    "import signal\nsignal.alarm(1)",
    "import signal\nsignal.signal(signal.SIGTERM, print)",
    "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "import pty\npty.spawn('/bin/sh')",
    "import ctypes\nctypes.CDLL(None).system(b'touch {here}/escaped')",
    "import cffi",
    "import sys\nsys.exit()",
    "exit()",
    "quit(3)",
    "raise SystemExit(3)",
    "raise KeyboardInterrupt",
    "import os\nos._exit(0)",
    "import sys\nsys.modules['os'].system('touch {here}/escaped')",
    "import sys\nsys._getframe().f_back.f_globals",
    "import sys\nsys.stdout.buffer.raw.write(b'x')",
    "import gc\ngc.get_objects()",
    "import inspect\ninspect.currentframe().f_back",
    "import faulthandler\nfaulthandler._sigsegv()",
    # the network
    "import socket\nsocket.create_connection(('127.0.0.1', {port})).send(b'out')",
    "import socket\nsocket.socket().connect(('127.0.0.1', {port}))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}/').read()",
    "import http.client\nhttp.client.HTTPConnection('127.0.0.1', {port}).request('GET', '/')",
    "import requests\nrequests.get('http://127.0.0.1:{port}/')",
    "import asyncio\nasync def f():\n    await asyncio.open_connection('127.0.0.1', {port})\nasyncio.run(f())",
    "import ftplib, smtplib, telnetlib",
    "import ssl",
    # round about
    "eval('__import__(\"os\").system(\"touch {here}/escaped\")')",
    "exec('import os; os.system(\"touch {here}/escaped\")')",
    "compile('1', 'a', 'exec')",
    "__import__('os').system('touch {here}/escaped')",
    "__builtins__.__dict__['__import__']('os').system('touch {here}/escaped')",
    "__builtins__['open']('{here}/secret.txt').read()",
    "globals()['__builtins__']",
    "import builtins\nbuiltins.open('{here}/secret.txt').read()",
    "import importlib\nimportlib.import_module('os').system('touch {here}/escaped')",
    "().__class__.__bases__[0].__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()",
    "[c for c in object.__subclasses__() if c.__name__ == 'Popen'][0]('touch {here}/escaped', shell=True)",
    "type(lambda: 0)((lambda: 0).__code__, {{}})",
    "(lambda: 0).__globals__['__builtins__']",
    "(lambda: 0).__code__.replace(co_code=b'x')",
    "getattr(getattr((), '__class__'), '__base__')",
    "getattr(print, '__self__').open('{here}/secret.txt').read()",
    "print.__self__.__dict__",
    "(i for i in [1]).gi_frame.f_back.f_globals",
    "async def f(): pass\nf().cr_frame.f_globals",
    "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_back.f_globals",
    "'{{0.__class__.__init__.__globals__}}'.format(open)",
    "f'{{print.__self__}}'",
    "class A:\n    def __del__(self): open('{here}/escaped', 'w')\nA()\n1",
    "class A:\n    def __repr__(self): return open('{here}/secret.txt').read()\nA()",
    "class M(type):\n    def __call__(c): return __import__('os')\nclass A(metaclass=M): pass\nA()",
    "import typing\ntyping.get_type_hints({{'a': '__import__(\"os\").system(\"touch {here}/escaped\")'}})",
    "from dataclasses import make_dataclass\nmake_dataclass('A', ['x; import os'])",
    "import code\ncode.interact()",
    "import pdb\npdb.set_trace()",
    "breakpoint()",
    "input()",
    "help()",
    "import webbrowser\nwebbrowser.open('http://127.0.0.1:{port}/')",
    "import antigravity",
    "import lab.tools",
    "import pydantic_monty",
    "vars()",
    "dir(__builtins__)",
]  # fmt: skip
# Attempts to use up time, memory, or the room for an answer.
FLOODS = [
    "while True: pass",
    "while True:\n    try:\n        1 / 0\n    except BaseException:\n        pass",
    "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n    finally: pass",
    "for i in iter(int, 1): pass",
    "import itertools\nsum(itertools.count())",
    "[0] * 10 ** 10",
    "list(range(10 ** 9))",
    "bytearray(10 ** 10)",
    "b'x' * 10 ** 12",
    "'x' * 10 ** 12",
    "'x'.ljust(10 ** 10)",
    "'{:>1000000000}'.format(1)",
    "f'{1:>1000000000}'",
    "'%1000000000d' % 1",
    "9 ** 9 ** 9",
    "10 ** 10 ** 10 % 7",
    "pow(9, 9 ** 9)",
    "1 << 10 ** 10",
    "x = 7\nwhile True: x = x * x",
    "import math\nmath.factorial(10 ** 7)",
    "int('9' * 10 ** 6)",
    "str(10 ** 100_000)",
    "s = 'ab'\nwhile True: s += s",
    "l = []\nwhile True: l.append(l)",
    "l = [1]\nfor x in l: l.append(x)",
    "d = {}\ni = 0\nwhile True:\n    d[i] = 'x' * 1000\n    i += 1",
    "l = []\nfor i in range(10 ** 6): l = [l]\nl",
    "l = []\nl.append(l)\nl",
    "d = {}\nd['d'] = d\nd",
    "x = ['a' * 1000] * 1000\n[x] * 1000",
    "def f(): return f()\nf()",
    "def f(n): return [f(n + 1)]\nf(0)",
    "f = lambda g: g(g)\nf(f)",
    "class A:\n    def __repr__(self): return repr(self)\nrepr(A())",
    "class A:\n    def __eq__(self, o): return self == o\nA() == A()",
    "'(' * 10 ** 5",
    "(" * 5000 + ")" * 5000,
    "[" * 5000,
    "-" * 10**5 + "1",
    "x = " + "1 + " * 50_000 + "1",
    "\n".join(f"a{i} = {i}" for i in range(50_000)),
    "def g():\n    while True: yield 1\nsum(g())",
    "def g():\n    yield from g()\nlist(g())",
    "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "import re\nre.match('(a|aa)+$', 'a' * 60 + 'b')",
    "import re\nre.sub('(x*)*y', '', 'x' * 5000)",
    "import re\nre.compile('((((a{99}){99}){99}){99})')",
    "'a,' * 10 ** 6\n('a,' * 10 ** 6).split(',')",
    "('a' * 10 ** 6).replace('', 'b' * 100)",
    "sorted(range(10 ** 7), key=lambda x: -x)",
    "import time\ntime.sleep(100)",
    "import asyncio\nasyncio.run(asyncio.sleep(1000))",
    "import asyncio\nasync def f():\n    while True: await asyncio.sleep(0)\nasyncio.run(f())",
    "while True: print('x' * 1000)",
    "print('x' * 10 ** 7)",
    "for i in range(10 ** 6): print(i)",
    "print(*range(10 ** 6))",
    "import sys\nwhile True: print('e', file=sys.stderr)",
    "raise ValueError('x' * 10 ** 7)",
    "import json\njson.loads('[' * 10 ** 5)",
    "import json\njson.dumps('x' * 10 ** 8)",
    "{i: {j: 'x' for j in range(1000)} for i in range(1000)}",
    "set(range(10 ** 8))",
    "'\\ud800'",
    "chr(0xd800) + 'x'",
    "'\\0' * 100",
    "\0",
    "\ud800",
    "x" * 1_000_000,
]


@pytest.fixture(scope="module")
def prison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Python, Path, list[str]]]:
    """A tool in a process with a secret in its environment and folder, and a server that notes who speaks to it."""
    here, heard = tmp_path_factory.mktemp("prison"), list[str]()
    (here / "secret.txt").write_text(SECRET)
    import socket

    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            try:
                heard.append(str(server.accept()[1]))
            except OSError:
                return

    threading.Thread(target=listen, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch, Python() as python:
        patch.setenv("SECRET", SECRET)
        patch.setenv("LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(here)
        heard.append(str(server.getsockname()[1]))  # first its port
        python("1")
        yield python, here, heard
    server.close()


def children() -> set[int]:
    """Ids of this process' children, and of theirs."""
    found, new = set[int](), {os.getpid()}
    while new:
        more = {int(pid) for one in new for pid in _children(one)}
        new = more - found
        found |= new
    return found


def _children(pid: int) -> list[str]:
    if sys.platform == "linux":
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [child for task in tasks for child in task.read_text().split()] if Path(f"/proc/{pid}").exists() else []
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return done.stdout.split()


def attempt(prison: tuple[Python, Path, list[str]], code: str) -> str:
    """What an attempt is told; nothing of it is left, and the tool works as before."""
    python, here, heard = prison
    before, began = children(), time.monotonic()
    said = python(code)
    took = time.monotonic() - began
    assert took < 6, f"{took:.1f} s"
    assert 0 < len(said) <= python.limit
    assert SECRET not in said
    assert not (here / "escaped").exists()
    assert sorted(p.name for p in here.iterdir()) == ["secret.txt"]
    assert len(heard) == 1
    assert python("6 * 7") == "42"
    assert len(children()) <= len(before)  # a worker that died is replaced, no more
    said.encode()
    return said


def test_no_code_gets_out(prison: tuple[Python, Path, list[str]]) -> None:
    """Of over a hundred attempts all but a few are errors."""
    said = [attempt(prison, code.format(here=prison[1], port=prison[2][0])) for code in ESCAPES]
    assert not any("root:" in text or "usr" in text for text in said)
    assert len(said) > 100
    fine = [code for code, text in zip(ESCAPES, said, strict=True) if not text.startswith("Error: ")]
    assert len(fine) < 5, fine


@pytest.mark.parametrize("code", FLOODS, ids=range(len(FLOODS)))
def test_no_code_uses_up_what_is_not_its_own(prison: tuple[Python, Path, list[str]], code: str) -> None:
    attempt(prison, code)


def test_threads_take_turns(python: Python) -> None:
    said: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        said[number] = [python(f"{number} * {i}") for i in range(30)]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {n: [str(n * i) for i in range(30)] for n in range(8)}


def test_a_closed_sandbox_says_so_and_leaves_no_process() -> None:
    before = children()
    with Python() as python:
        assert python("1 + 1") == "2"
        assert len(children() - before) >= 1
    assert python("1 + 1") == "Error: RuntimeError: the sandbox is closed"
    deadline = time.monotonic() + 5
    while children() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children() - before


@pytest.mark.parametrize("busy", [False, True])
def test_the_worker_dies_with_whoever_holds_it(busy: bool) -> None:
    """A process that is killed leaves no interpreter behind, not even one that counts for ever."""
    code = "from lab.tools import Python\ntool = Python(seconds=3)\nprint(tool('1'), flush=True)\n"
    code += "tool('while True: pass')\n" if busy else "input()\n"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"1\n"
    time.sleep(0.3)
    held = _children(parent.pid)
    assert held
    assert all(_alive(int(pid)) for pid in held)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while any(_alive(int(pid)) for pid in held) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(int(pid)) for pid in held)


def _alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")
