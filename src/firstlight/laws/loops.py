"""Whole kernels in LLVM's words: the loops over rows and columns around `kernels`' elements."""

from __future__ import annotations

from firstlight.laws.kernels import (
    ELEMENT,
    Form,
    Kind,
    Lanes,
    counted,
    elements,
    loaded,
    philox,
    quick_elements,
    woven,
)
from firstlight.laws.vectors import Code


def _again(code: Code, stored: str) -> str:
    """``again``: draws a block of `quick` elements into memory as the reference does."""
    wide = f"<{code.width} x double>"
    return f"""
declare {wide} @llvm.fma.v{code.width}f64({wide}, {wide}, {wide})
define internal void @again(ptr %spare, ptr %numbers, i64 %k0, i64 %k1, i64 %block, i64 %row)
    noinline cold {{
{code.take()}
{stored}
  ret void
}}
"""


_DRAW_AGAIN = "call void @again(ptr %spare, ptr %numbers, i64 %k0, i64 %k1, i64 %block, i64 %row)"


def along_rows(kind: Kind, form: Form, width: int, table: int = 0) -> str:
    """``rows``: fills rows whose elements follow each other in memory.

    Lanes are counters along the row. What lies wholly inside the region is stored at once, its ends
    number by number.
    """
    code, element = Code(width=width), ELEMENT[form]
    law, keys = loaded(code, kind)
    entry = code.take()
    words = philox(counted(code, "%block"), code.splat("i64", "%row"), keys)
    if table:
        lanes, doubt = quick_elements(kind, form, words, law, table)
        type_, first = woven(code, lanes)
        slow = Code(width=width)
        law, keys = loaded(slow, kind)
        words = philox(counted(slow, "%block"), slow.splat("i64", "%row"), keys)
        _, name = woven(slow, elements(kind, form, words, law))
        again = _again(slow, f"  store {type_} {name}, ptr %spare, align 64")
        name = "%values"
        drawn = f"""{code.take()}
  br i1 {doubt}, label %doubtful, label %drawn
doubtful:
  {_DRAW_AGAIN}
  %exact = load {type_}, ptr %spare, align 64
  br label %drawn
drawn:
  %values = phi {type_} [ {first}, %each_block ], [ %exact, %doubtful ]"""
    else:
        type_, name = woven(code, elements(kind, form, words, law))
        again, drawn = "", code.take()
    return f"""{again}
define void @rows(ptr %out, ptr %numbers, i64 %k0, i64 %k1, i64 %first_row, i64 %last_row,
                  i64 %first, i64 %last, i64 %stride) {{
entry:
  %spare = alloca {type_}, align 64
  %first_block = lshr i64 %first, 2
{entry}
  br label %each_row
each_row:
  %row = phi i64 [ %first_row, %entry ], [ %next_row, %row_done ]
  %rows_before = sub i64 %row, %first_row
  %row_start = mul i64 %rows_before, %stride
  %shift = sub i64 %row_start, %first
  br label %each_block
each_block:
  %block = phi i64 [ %first_block, %each_row ], [ %next_block, %block_done ]
  %column = shl i64 %block, 2
  %stop = add i64 %column, {4 * width}
{drawn}
  %place = add i64 %column, %shift
  %target = getelementptr {element}, ptr %out, i64 %place
  %begun = icmp sge i64 %column, %first
  %over = icmp sle i64 %stop, %last
  %inside = and i1 %begun, %over
  br i1 %inside, label %whole, label %part
whole:
  store {type_} {name}, ptr %target, align {8 if element == "double" else 2}
  br label %block_done
part:
  store {type_} {name}, ptr %spare, align 64
  %missing = sub i64 %first, %column
  %from = select i1 %begun, i64 0, i64 %missing
  %left = sub i64 %last, %column
  %to = select i1 %over, i64 {4 * width}, i64 %left
  br label %each
each:
  %i = phi i64 [ %from, %part ], [ %next, %each ]
  %spare_i = getelementptr {element}, ptr %spare, i64 %i
  %target_i = getelementptr {element}, ptr %target, i64 %i
  %one = load {element}, ptr %spare_i
  store {element} %one, ptr %target_i
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %to
  br i1 %more, label %each, label %block_done
block_done:
  %next_block = add i64 %block, {width}
  %next_column = shl i64 %next_block, 2
  %more_blocks = icmp slt i64 %next_column, %last
  br i1 %more_blocks, label %each_block, label %row_done
row_done:
  %next_row = add i64 %row, 1
  %more_rows = icmp slt i64 %next_row, %last_row
  br i1 %more_rows, label %each_row, label %done
done:
  ret void
}}
"""


def _four(four: str, lanes: Lanes) -> str:
    """The four columns of a block, each stored at its place in ``spare``."""
    align = 8 if lanes[0].kind == "double" else 2
    return "\n".join(
        f"  %spare{j} = getelementptr {four}, ptr %spare, i64 0, i64 {j}\n"
        f"  store {lane}, ptr %spare{j}, align {align}"
        for j, lane in enumerate(lanes)
    )


def down_columns(kind: Kind, form: Form, width: int, table: int = 0) -> str:
    """``columns``: fills columns that lie anywhere, ``offsets`` elements from ``out``.

    Lanes are counters down a column. Where its elements follow each other in memory, as in a
    transposed kernel, they are stored at once.
    """
    code, element = Code(width=width), ELEMENT[form]
    law, keys = loaded(code, kind)
    entry = code.take()
    words = philox(code.splat("i64", "%block"), counted(code, "%row"), keys)
    four = f"[4 x <{width} x {element}>]"
    if table:
        lanes, doubt = quick_elements(kind, form, words, law, table)
        slow = Code(width=width)
        law, keys = loaded(slow, kind)
        words = philox(slow.splat("i64", "%block"), counted(slow, "%row"), keys)
        again = _again(slow, _four(four, elements(kind, form, words, law)))
        drawn = f"""{code.take()}
{_four(four, lanes)}
  br i1 {doubt}, label %doubtful, label %drawn
doubtful:
  {_DRAW_AGAIN}
  br label %drawn
drawn:"""
    else:
        lanes = elements(kind, form, words, law)
        again = ""
        drawn = f"{code.take()}\n{_four(four, lanes)}\n  br label %drawn\ndrawn:"
    return f"""{again}
define void @columns(ptr %out, ptr %numbers, i64 %k0, i64 %k1, i64 %first_row, i64 %last_row,
                     i64 %first, i64 %last, i64 %stride, ptr %offsets) {{
entry:
  %spare = alloca {four}, align 64
  %first_block = lshr i64 %first, 2
  %dense = icmp eq i64 %stride, 1
{entry}
  br label %each_block
each_block:
  %block = phi i64 [ %first_block, %entry ], [ %next_block, %block_done ]
  %column = shl i64 %block, 2
  %stop = add i64 %column, 4
  %early = icmp slt i64 %column, %first
  %from = select i1 %early, i64 %first, i64 %column
  %late = icmp sgt i64 %stop, %last
  %to = select i1 %late, i64 %last, i64 %stop
  br label %each_row
each_row:
  %row = phi i64 [ %first_row, %each_block ], [ %next_row, %row_done ]
{drawn}
  %rows_before = sub i64 %row, %first_row
  %row_start = mul i64 %rows_before, %stride
  %left = sub i64 %last_row, %row
  %full = icmp sge i64 %left, {width}
  %count = select i1 %full, i64 {width}, i64 %left
  %at_once = and i1 %full, %dense
  br label %each_column
each_column:
  %c = phi i64 [ %from, %drawn ], [ %next_c, %column_done ]
  %j = sub i64 %c, %column
  %source = getelementptr {four}, ptr %spare, i64 0, i64 %j
  %index = sub i64 %c, %first
  %at_offset = getelementptr i64, ptr %offsets, i64 %index
  %offset = load i64, ptr %at_offset
  %place = add i64 %offset, %row_start
  %target = getelementptr {element}, ptr %out, i64 %place
  br i1 %at_once, label %whole, label %each
whole:
  %all = load <{width} x {element}>, ptr %source, align {8 if element == "double" else 2}
  store <{width} x {element}> %all, ptr %target, align {8 if element == "double" else 2}
  br label %column_done
each:
  %i = phi i64 [ 0, %each_column ], [ %next, %each ]
  %source_i = getelementptr {element}, ptr %source, i64 %i
  %apart = mul i64 %i, %stride
  %target_i = getelementptr {element}, ptr %target, i64 %apart
  %one = load {element}, ptr %source_i
  store {element} %one, ptr %target_i
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %each, label %column_done
column_done:
  %next_c = add i64 %c, 1
  %more_columns = icmp slt i64 %next_c, %to
  br i1 %more_columns, label %each_column, label %row_done
row_done:
  %next_row = add i64 %row, {width}
  %more_rows = icmp slt i64 %next_row, %last_row
  br i1 %more_rows, label %each_row, label %block_done
block_done:
  %next_block = add i64 %block, 1
  %next_start = shl i64 %next_block, 2
  %more_blocks = icmp slt i64 %next_start, %last
  br i1 %more_blocks, label %each_block, label %done
done:
  ret void
}}
"""
