"""The house rules that a machine can check: each is a function from a file to what is wrong with it."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Module

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
POSITIONAL_MAX = 5

# written in two halves, so that this file does not break its own rule
WRONG_NAMES = tuple(a + b for a, b in (("job", "_id"), ("task", "_name"), ("enq", "ueue"), ("NotImplemented", "Error")))
WRONG_TEXT = tuple(a + b for a, b in (("TO", "DO"), ("FIX", "ME"), ("for", " now,"), ("for", " now.")))
# paths of one machine, and the addresses that lock files take in from whatever registry was asked
PRIVATE_TEXT = tuple(
    a + b
    for a, b in (
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/simple", '/"'),
        ('"resolved": "', "http"),
        ("/packages/", "source/"),
    )
)
WRONG_ENDS = ("Manager", "Handler", "Helper", "Util", "Utils", "Base", "Common", "Service")
DRAWERS = {"utils", "util", "helpers", "common", "types", "constants", "misc"}
BANNER = re.compile(r"^\s*#\s*[-=#*~─]{2,}", re.MULTILINE)
NO_CLOCK = ("offload.core", "offload.engine", "offload.stores", "offload.blobs", "offload.http")
CLOCKS = {"time.time", "time.monotonic", "time.time_ns", "datetime.now", "datetime.datetime.now", "datetime.utcnow"}


def too_long(of: Module) -> Iterator[str]:
    """Say which file or function is too long, and which function takes too much by position."""
    if (lines := of.text.count("\n")) > FILE_LINES_MAX:
        yield f"{of.path}: {lines} lines; at most {FILE_LINES_MAX}: find the second idea in it and give it a file"
    for node in ast.walk(of.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX:
            yield f"{of.at(node)}: {node.name}() has {length} lines; at most {FUNCTION_LINES_MAX}"
        by_position = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args) if arg.arg not in ("self", "cls")]
        if len(by_position) > POSITIONAL_MAX and not _given_by_name(node):
            yield f"{of.at(node)}: {node.name}() takes {by_position}; at most {POSITIONAL_MAX} by position"


def no_opening(of: Module) -> Iterator[str]:
    """Say when a file does not open with a sentence."""
    words = ast.get_docstring(of.tree) or ""
    if not words.partition("\n\n")[0].rstrip().endswith((".", "!", "?", ":", '"')):
        yield f"{of.path}: open it with one sentence that says what it holds"


def wrong_words(of: Module) -> Iterator[str]:
    """Say which words of the code are not ours."""
    for number, line in enumerate(of.text.splitlines(), 1):
        for word in WRONG_NAMES:
            if word in line:
                yield f"{of.path}:{number}: {word}; see docs/glossary.md for our words"
    for node in ast.walk(of.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(WRONG_ENDS):
            yield f"{of.at(node)}: class {node.name}: say its duty in a noun of its own"
    if of.path.rpartition("/")[2].removesuffix(".py") in DRAWERS:
        yield f"{of.path}: a drawer; put things where they are used, or one layer down"
    if found := BANNER.search(of.text):
        yield f"{of.path}:{of.text.count(chr(10), 0, found.start()) + 1}: a section banner; a new section is a new file"


def wrong_text(path: str, text: str) -> Iterator[str]:
    """Say what no file may hold: unfinished notes, and addresses of the machine it was written on."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in (*WRONG_TEXT, *PRIVATE_TEXT):
            if word in line:
                yield f"{path}:{number}: {word!r}"


def unsafe(of: Module) -> Iterator[str]:
    """Say where code trusts bytes as code, or makes ids that can be guessed."""
    for node in ast.walk(of.tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in {"pickle", "marshal", "shelve", "dill", "cloudpickle"}.intersection(names):
            yield f"{of.at(node)}: imports {name}; data is JSON or msgpack"
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node) in {
            "uuid.uuid1",
            "uuid1",
            "uuid.uuid6",
            "uuid6",
        }:
            yield f"{of.at(node)}: ids are UUID v4; this one tells time and machine"
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        if called in {"eval", "exec", "os.system", "os.popen"}:
            yield f"{of.at(node)}: calls {called}()"
        if any(each.arg == "shell" and getattr(each.value, "value", None) is True for each in node.keywords):
            yield f"{of.at(node)}: shell=True"
        if called in {"UUID", "uuid.UUID"} and "random." in ast.unparse(node):
            yield f"{of.at(node)}: an id from `random` can be guessed; use uuid.uuid4()"


def reads_the_world(of: Module) -> Iterator[str]:
    """Say where a layer that is handed its clock and settings takes them itself."""
    if not of.name.startswith(NO_CLOCK):
        return
    for node in ast.walk(of.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in CLOCKS:
            yield f"{of.at(node)}: reads a clock; it is handed in (ports.Clock)"
        if isinstance(node, ast.Attribute) and dotted(node) in {"os.environ", "os.getenv"}:
            yield f"{of.at(node)}: reads the environment; only settings.py does"


def bare_sleeps(of: Module) -> Iterator[str]:
    """Say where a test sleeps and hopes; a sleep inside a loop that looks at a condition, or inside a job, is none."""
    if of.path.startswith(("tests/", "src/offload/conformance/")):
        yield from _sleeps(of, of.tree, waits=False)


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for an attribute chain, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def _sleeps(of: Module, node: ast.AST, waits: bool) -> Iterator[str]:
    if isinstance(node, ast.Call) and dotted(node.func) == "time.sleep" and not waits:
        yield f"{of.at(node)}: time.sleep in a test; wait for a condition with a deadline"
    waits = waits or isinstance(node, ast.While | ast.For)
    decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", [])]
    waits = waits or any("job" in each or each.startswith("app.task") for each in decorators)  # the latter: Celery's
    for child in ast.iter_child_nodes(node):
        yield from _sleeps(of, child, waits)


def _given_by_name(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Jobs and tests get their arguments by name, from a request or from pytest."""
    return node.name.startswith("test_") or any("job" in ast.unparse(each) for each in node.decorator_list)
