"""The kernels of a compiled program, read from XLA's text of it (HLO): what each one moves and computes.

A kernel is an instruction that the device runs: a fusion, a convolution, a copy, but not a tuple, a bitcast or a
parameter. Those in the body of a loop count as often as the loop runs.
"""

import collections
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}  # of types whose name does not end in their number of bits
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"}
PARTIAL_READERS = ("gather", "dynamic-slice", "slice")  # they read of their first operand only as much as they put out
SAME_ELEMENTS = ("bitcast", "convert", "copy")  # of a part of their operand, they need a part
# {what uses links: (its part of operand and result bytes that crosses them, how often a ring passes it on)}
COLLECTIVES = {
    "all-reduce": (1 / 2, 2),
    "all-gather": (1, 1),
    "reduce-scatter": (1, 1),
    "all-to-all": (1 / 2, 1),
    "collective-permute": (1 / 2, 1),
}
ON_CHIP = "S(1)"  # in a layout: in a TPU core's own memory
SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
TILE = re.compile(r"\{([\d,]+):T\(([\d,]+)\)")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.-]+) = (.+?) ([\w-]+)\((.*)$")
COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) .*\{$")
CALLED = r"(?:body|to_apply|calls)=%?([\w.-]+)"


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program."""

    kind: str  # "fusion", "convolution", "matrix product", "copy" or another instruction's name
    times: int  # how often a call of the program runs it
    bytes: int  # that one run reads and writes in memory; those of a collective wherever they are
    flops: int  # of convolutions and matrix products in one run; a multiply-add is two
    source: str  # the JAX operation that it comes from, with its named scopes


@dataclass(frozen=True)
class Instruction:
    """One line of HLO."""

    name: str
    shape: str
    op: str
    operands: tuple[str, ...]
    text: str  # operands and attributes

    def attribute(self, pattern: str, default: str = "") -> str:
        """The first group of a regular expression in the attributes."""
        found = re.search(pattern, self.text)
        return found[1] if found else default

    @property
    def kind(self) -> str:
        """That of its kernel."""
        target = self.attribute(r'custom_call_target="([^"]*)"')
        if "conv" in target.lower():
            return "convolution"
        return "matrix product" if "gemm" in target or "matmul" in target else target or self.op.removesuffix("-done")


class HloProgram:
    """A compiled program."""

    def __init__(self, text: str):
        """The program of what `compiled.as_text()` gives."""
        self.computations: dict[str, dict[str, Instruction]] = {}
        for line in text.splitlines():
            if computation := COMPUTATION.match(line):
                current = self.computations[computation[2]] = {}
                if computation[1]:
                    self.entry = computation[2]
            elif instruction := INSTRUCTION.match(line):
                name, shape, op, rest = instruction.groups()
                operands = tuple(re.findall(r"%([\w.-]+)", rest.split(")")[0]))
                current[name] = Instruction(name, shape, op, operands, rest)

    def kernels(self, computation: str | None = None, times: int = 1) -> Iterator[Kernel]:
        """Every kernel that so many runs of a computation run; None: of the whole program.

        Of alternatives, those with most to compute, as in an iteration where all that is due now and then is.
        """
        instructions = self.computations[computation or self.entry]
        for one in instructions.values():
            if one.op in ("while", "call", "async-start"):
                yield from self.kernels(one.attribute(CALLED), times * self._turns(one))
            elif one.op == "conditional":
                alternatives = [list(self.kernels(name, times)) for name in _branches(one)]
                yield from max(alternatives, key=lambda kernels: (sum(each.flops for each in kernels), len(kernels)))
            elif one.op not in FREE and one.op != "async-done" and not one.op.endswith(("-start", "-update")):
                moved, flops = self._bytes(one, instructions), self._flops(one, instructions)
                yield Kernel(one.kind, times, moved, flops, one.attribute(r'op_name="([^"]*)"'))

    def _turns(self, instruction: Instruction) -> int:
        """How often a loop runs: as the compiler notes, or (for TPUs) by its condition, a count less than a number."""
        if noted := instruction.attribute(r'"known_trip_count":\{"n":"(\d+)"'):
            return int(noted)
        condition = self.computations.get(instruction.attribute(r"condition=%?([\w.-]+)"), {})
        limits = [int(one.text.split(")")[0]) for one in condition.values() if one.op == "constant"]
        return limits[0] if len(limits) == 1 else 1

    def _bytes(self, instruction: Instruction, computation: dict[str, Instruction]) -> int:
        """What is read and written."""
        written = instruction.shape
        if instruction.op == "custom-call":
            written = re.sub(r", u8\[[^\]]*\]\{0\}\)$", ")", written)  # without a library's working memory
        elif instruction.op.endswith("-done"):  # the start has the operands, and a tuple for its result
            start = computation[instruction.operands[0]]
            instruction = replace(start, shape=written, op=start.op.removesuffix("-start"))
        on_chip = instruction.op in COLLECTIVES
        shares, total = self._shares_read(instruction, computation), size_of(written, on_chip=on_chip)
        for index, operand in enumerate(instruction.operands):
            whole = size_of(computation[operand].shape, on_chip=on_chip) if operand in computation else 0
            total += round(whole * min(1, shares.get(index, 1)))
        return total

    def _shares_read(self, instruction: Instruction, computation: dict[str, Instruction]) -> dict[int, float]:
        """{index of an operand: share of it that is read}: of a set that is gathered from, the images gathered."""
        if instruction.op in PARTIAL_READERS:
            whole = size_of(computation[instruction.operands[0]].shape, on_chip=True)
            return {0: size_of(instruction.shape, on_chip=True) / whole}
        if instruction.op != "fusion":
            return {}
        inner, users = self.computations[instruction.attribute(CALLED)], collections.defaultdict(list)
        for user in inner.values():
            for place, operand in enumerate(user.operands):
                users[operand].append((user, place))

        def share(name: str) -> float:
            whole = size_of(inner[name].shape, on_chip=True)
            total = 0.0
            for user, place in users[name]:
                if user.op in PARTIAL_READERS and place == 0:
                    total += size_of(user.shape, on_chip=True) / whole
                elif user.op in SAME_ELEMENTS and user.name in users:
                    total += share(user.name)
                else:
                    total += 1
            return total

        parameters = (one for one in inner.values() if one.op == "parameter" and one.name in users)
        return {int(one.text.split(")")[0]): share(one.name) for one in parameters}

    def _flops(self, instruction: Instruction, computation: dict[str, Instruction]) -> int:
        """Operations of the convolutions and matrix products in an instruction."""
        if instruction.op == "fusion":
            fused = self.computations[instruction.attribute(CALLED)]
            return sum(self._flops(inner, fused) for inner in fused.values())
        if instruction.kind not in ("convolution", "matrix product", "dot"):
            return 0
        result = _dimensions(instruction.shape)
        first, second = (_dimensions(computation[name].shape) for name in instruction.operands[:2])
        if instruction.kind != "convolution":
            axes = re.findall(r"\d+", instruction.attribute(r"lhs_contracting_dim\w*\W+([\d,\"]*)"))
            return 2 * math.prod(result) * math.prod(first[int(axis)] for axis in axes)
        outputs, kernel = result, second
        if "convBackwardInput" in instruction.text:  # cuDNN's gradients: each output of the convolution meets each tap
            outputs, kernel = first, second
        elif "convBackwardFilter" in instruction.text:
            outputs, kernel = second, result
        taps = math.prod(kernel) // kernel[instruction.attribute(r"dim_labels=\w+_(\w+)->").index("o")]
        holes = instruction.attribute(r"lhs_dilate=([\dx]+)", "1").split("x")
        return 2 * math.prod(outputs) * taps // math.prod(map(int, holes))


def size_of(shape: str, *, on_chip: bool = False) -> int:
    """Bytes of an array, or of all arrays of a tuple; those in a core's own memory count if `on_chip` is set."""
    total = 0
    for kind, numbers, layout in SHAPE.findall(shape):
        if ON_CHIP in layout and not on_chip:
            continue
        sides = _integers(numbers)
        if tile := TILE.search(layout):  # a TPU fills up the innermost sides to whole tiles
            order, multiples = map(_integers, tile.groups())
            for axis, multiple in zip(order, reversed(multiples), strict=False):
                sides[axis] = -(-sides[axis] // multiple) * multiple
        bits = BITS.get(kind) or int(re.search(r"\d+|$", kind)[0] or 0)  # f32, s8, f8e4m3fn; token has none
        total += math.prod(sides) * bits // 8
    return total


def _branches(conditional: Instruction) -> list[str]:
    """The computations of which a conditional runs one."""
    either = (conditional.attribute(rf"{which}_computation=%?([\w.-]+)") for which in ("true", "false"))
    return re.findall(r"[\w.-]+", conditional.attribute(r"branch_computations=\{([^}]*)\}") or " ".join(either))


def _dimensions(shape: str) -> list[int]:
    """Sides of an array, or of the first of a tuple."""
    return _integers(SHAPE.search(shape)[2])


def _integers(numbers: str) -> list[int]:
    return [int(number) for number in numbers.split(",") if number]
