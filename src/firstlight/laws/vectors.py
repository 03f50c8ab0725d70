"""A pen for LLVM's instructions: the usual operators on vectors write one line each.

No instruction carries LLVM's ``contract`` or ``fast`` flag, so that none may be fused, reordered or
approximated: what is written is what every processor computes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass
class Code:
    """Instructions written so far, for vectors of ``width`` numbers."""

    width: int
    lines: list[str] = field(default_factory=list)

    def emit(self, kind: str, instruction: str) -> Vector:
        """Write an instruction whose result is a vector of ``kind``."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return Vector(code=self, kind=kind, name=name)

    def constant(self, kind: str, number: float) -> Vector:
        """The same number in each lane."""
        written = str(number)
        if kind in ("double", "float"):  # LLVM writes both as the bits of a double
            written = f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
        name = "<" + ", ".join([f"{kind} {written}"] * self.width) + ">"
        return Vector(code=self, kind=kind, name=name)

    def splat(self, kind: str, scalar: str) -> Vector:
        """A number known at run time in each lane."""
        none = f"<{self.width} x {kind}> undef"
        one = self.emit(kind, f"insertelement {none}, {kind} {scalar}, i32 0")
        zeros = f"<{self.width} x i32> zeroinitializer"
        return self.emit(kind, f"shufflevector {one}, {none}, {zeros}")

    def take(self) -> str:
        """The text so far, whose lines are handed over: names go on counting."""
        text = "\n".join(line for line in self.lines if line)
        self.lines = [""] * len(self.lines)
        return text


@dataclass(frozen=True)
class Vector:
    """One number for each lane."""

    code: Code
    kind: str
    name: str

    def __str__(self) -> str:
        return f"<{self.code.width} x {self.kind}> {self.name}"

    def _with(self, floating: str, whole: str, other: Vector | float) -> Vector:
        if not isinstance(other, Vector):
            other = self.code.constant(self.kind, other)
        operation = floating if self.kind in ("double", "float") else whole
        return self.code.emit(self.kind, f"{operation} {self}, {other.name}")

    def __add__(self, other: Vector | float) -> Vector:
        return self._with("fadd", "add", other)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._with("fsub", "sub", other)

    def __rsub__(self, other: float) -> Vector:
        return self.code.constant(self.kind, other) - self

    def __mul__(self, other: Vector | float) -> Vector:
        return self._with("fmul", "mul", other)

    def __truediv__(self, other: Vector) -> Vector:
        return self._with("fdiv", "udiv", other)

    def __and__(self, other: int) -> Vector:
        return self._with("", "and", other)

    def __or__(self, other: Vector | int) -> Vector:
        return self._with("", "or", other)

    def __xor__(self, other: Vector) -> Vector:
        return self._with("", "xor", other)

    def __lshift__(self, other: int) -> Vector:
        return self._with("", "shl", other)

    def __rshift__(self, other: int) -> Vector:
        return self._with("", "lshr", other)

    def __neg__(self) -> Vector:
        return self.code.emit(self.kind, f"fneg {self}")

    def fused(self, factor: Vector | float, term: Vector | float) -> Vector:
        """This · factor + term, rounded once: not what the reference computes."""
        code = self.code
        factor, term = (
            x if isinstance(x, Vector) else code.constant(self.kind, x) for x in (factor, term)
        )
        called = f"call <{code.width} x double> @llvm.fma.v{code.width}f64"
        return code.emit(self.kind, f"{called}({self}, {factor}, {term})")

    def to(self, kind: str, how: str = "bitcast") -> Vector:
        """The same bits as another kind, or a conversion."""
        return self.code.emit(kind, f"{how} {self} to <{self.code.width} x {kind}>")

    def chosen(self, left: Vector, test: str, right: Vector | float, other: Vector) -> Vector:
        """``other`` in the lanes where the comparison holds, this vector in the rest."""
        if not isinstance(right, Vector):
            right = self.code.constant(left.kind, right)
        compare = "fcmp" if left.kind in ("double", "float") else "icmp"
        mask = self.code.emit("i1", f"{compare} {test} {left}, {right.name}")
        return self.code.emit(self.kind, f"select {mask}, {other}, {self}")
