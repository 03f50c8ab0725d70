"""Files of weights, written or compared: the words and the chapter of the page."""

from __future__ import annotations

from firstlight.records.compared import Compared, ComparedTensor
from firstlight.records.streamed import Streamed, size_in_words
from firstlight.reporting.chapter import Chapter, Section, Table, version_line
from firstlight.reporting.grouping import group, pattern, some
from firstlight.reporting.wording import count

_MOST_NAMES = 8
_MOST_ROWS = 2000


def streamed_verdict(done: Streamed) -> str:
    """What was written, in one sentence."""
    files = done.files[0] if len(done.files) == 1 else f"{len(done.files)} files"
    return (
        f"{count(done.tensors, 'tensor')}, {done.parameters:,} numbers, {size_in_words(done.size)}"
        f" in {files}"
    )


def streamed_facts(done: Streamed) -> list[tuple[str, str]]:
    """Where to, with which seed, how fast, and what stands in no file."""
    facts = [("folder", done.folder), ("seed", str(done.seed))]
    facts += [("namespace", done.namespace)] if done.namespace else []
    facts.append(("dtype", done.dtype or "each its parameter's own"))
    facts.append(("time", f"{done.seconds:.1f} s, {size_in_words(done.rate)}/s"))
    facts += [("from an earlier call", size_in_words(done.kept))] if done.kept else []
    if done.left_out:
        facts.append(("without values, in no file", some(done.left_out, _MOST_NAMES)))
    if done.ties:
        facts.append(("stored once", some([f"{a} = {b}" for a, b in done.ties], _MOST_NAMES)))
    return facts


def streamed_chapter(done: Streamed) -> Chapter:
    """A call of `stream` as a chapter."""
    table = Table(caption="Each file", heads=("file",), rows=tuple((f,) for f in done.files))
    return Chapter(
        title="Weights in files",
        verdict=f"{streamed_verdict(done)}.",
        healthy=True,
        glance=_glance("What was written", streamed_facts(done)),
        sections=(Section(heading="The files", tables=(table,)),) if len(done.files) > 1 else (),
        made=(version_line(),),
    )


def compared_verdict(found: Compared) -> str:
    """How many tensors nothing has trained, in one sentence."""
    drawn = sum(e.standing in ("initial", "partly initial", "changed") for e in found)
    return (
        f"{len(found.untrained)} of {drawn} tensors are at the start of seed {found.seed},"
        " bit for bit"
    )


def compared_facts(found: Compared) -> list[tuple[str, str]]:
    """Which tensors stand where, the first few by name."""
    constants = [e.name for e in found if e.standing == "initial" and e.constant]
    groups = [
        (f"still initial ({len(found.untrained)})", list(found.untrained)),
        (f"still at their constant ({len(constants)})", constants),
        ("not in the checkpoint", list(found.named("missing"))),
        ("not in the plan", list(found.named("extra"))),
    ]
    facts = [("checkpoint", found.path)]
    facts += [("namespace", found.namespace)] if found.namespace else []
    facts += [(title, some(names, _MOST_NAMES)) for title, names in groups if names]
    partly = (e for e in found if e.standing == "partly initial")
    return facts + [(e.name, f"{e.equal:.0%} of the samples are initial") for e in partly]


def compared_chapter(found: Compared) -> Chapter:
    """A comparison as a chapter: all tensors, in a table that filters."""
    rows, also = [], []
    for same in group(found, lambda e: (e.standing, e.constant, _share(e))):
        first = same[0]
        standing = f"{first.standing}, constant" if first.constant else first.standing
        looked = sum(entry.samples for entry in same)
        names = pattern([entry.name for entry in same])
        rows.append((names, str(len(same)), standing, f"{looked:,}", _share(first)))
        also.append(" ".join(entry.name for entry in same))
    table = Table(
        caption="Where each tensor stands",
        heads=("tensor", "how many", "standing", "numbers looked at", "initial"),
        rows=tuple(rows[:_MOST_ROWS]),
        also=tuple(also[:_MOST_ROWS]),
        numeric=(1, 3, 4),
    )
    return Chapter(
        title="A checkpoint beside its start",
        verdict=f"{compared_verdict(found)}.",
        glance=_glance("At a glance", compared_facts(found)),
        sections=(Section(heading="The tensors", tables=(table,)),),
        made=(version_line(),),
    )


def _share(entry: ComparedTensor) -> str:
    return f"{entry.equal:.0%}" if entry.samples else "–"


def _glance(caption: str, facts: list[tuple[str, str]]) -> Table:
    return Table(caption=caption, heads=("what", "value"), rows=tuple(facts), code=())
