"""The kernels of a compiled program, read from XLA's text of it (HLO): what each one moves and computes.

A kernel is an instruction that the device runs: a fusion, a convolution, a copy, but not a tuple, a bitcast or a
parameter. Those in the body of a loop count as often as the loop runs.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}  # of types whose name does not end in their number of bits
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"}
PARTIAL_READERS = ("gather", "dynamic-slice", "slice")  # they read of their first operand only as much as they put out
ON_CHIP = "S(1)"  # in a layout: in a TPU core's own memory
SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.-]+) = (.+?) ([\w-]+)\((.*)$")
COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) .*\{$")


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program."""

    kind: str  # "fusion", "convolution", "matrix product", "copy" or another instruction's name
    times: int  # how often a call of the program runs it
    bytes: int  # that one run reads and writes
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


class Program:
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

    def kernels(self) -> Iterator[Kernel]:
        """Every kernel that a call runs."""
        yield from self._kernels(self.entry, 1)

    def _kernels(self, name: str, times: int) -> Iterator[Kernel]:
        computation = self.computations[name]
        for instruction in computation.values():
            op = instruction.op
            if op == "while":
                turns = int(instruction.attribute(r'"known_trip_count":\{"n":"(\d+)"', "1"))
                yield from self._kernels(instruction.attribute(r"body=%?([\w.-]+)"), times * turns)
            elif op in ("call", "async-start"):
                yield from self._kernels(instruction.attribute(r"(?:to_apply|calls)=%?([\w.-]+)"), times)
            elif op not in FREE and op != "async-done" and not op.endswith(("-start", "-update")):
                flops = self._flops(instruction, computation)
                source = instruction.attribute(r'op_name="([^"]*)"')
                yield Kernel(_kind(instruction), times, self._bytes(instruction, computation), flops, source)

    def _bytes(self, instruction: Instruction, computation: dict[str, Instruction]) -> int:
        """What is read and written."""
        written, read = instruction.shape, 0
        if instruction.op == "custom-call":
            written = re.sub(r", u8\[[^\]]*\]\{0\}\)$", ")", written)  # without a library's working memory
        elif instruction.op.endswith("-done"):  # the start has the operands, and a tuple for its result
            start = computation[instruction.operands[0]]
            instruction = dataclasses.replace(start, shape=written, op=start.op.removesuffix("-start"))
        for index, operand in enumerate(instruction.operands):
            whole = size_of(computation[operand].shape) if operand in computation else 0
            read += min(whole, self._part_read(instruction, index, whole))
        return size_of(written) + read

    def _part_read(self, instruction: Instruction, index: int, whole: int) -> int:
        """How much of an operand is read: of a set of images that is gathered from, the images gathered."""
        if instruction.op in PARTIAL_READERS and index == 0:
            return size_of(instruction.shape, on_chip=True)
        if instruction.op != "fusion":
            return whole
        return self._parts_read(instruction.attribute(r"calls=%?([\w.-]+)")).get(index, whole)

    @functools.cache  # noqa: B019 (programs are few and live as long as their process)
    def _parts_read(self, fused: str) -> dict[int, int]:
        """{index of a parameter that is only gathered or sliced from: bytes of it that a fusion reads}."""
        computation, reads = self.computations[fused], collections.defaultdict(list)
        for instruction in computation.values():
            for place, operand in enumerate(instruction.operands):
                partial = instruction.op in PARTIAL_READERS and place == 0
                reads[operand].append(size_of(instruction.shape, on_chip=True) if partial else math.inf)
        parameters = (instruction for instruction in computation.values() if instruction.op == "parameter")
        parts = {int(one.text.split(")")[0]): sum(reads[one.name]) for one in parameters if reads[one.name]}
        return {index: part for index, part in parts.items() if part < math.inf}

    def _flops(self, instruction: Instruction, computation: dict[str, Instruction]) -> int:
        """Operations of the convolutions and matrix products in an instruction."""
        if instruction.op == "fusion":
            fused = self.computations[instruction.attribute(r"calls=%?([\w.-]+)")]
            return sum(self._flops(inner, fused) for inner in fused.values())
        if instruction.op == "custom-call" and _kind(instruction) == "convolution":
            return _library_convolution_flops(instruction, computation)
        shapes = [dimensions(computation[name].shape) for name in instruction.operands if name in computation]
        if instruction.op == "convolution":
            kernel = instruction.attribute(r"dim_labels=\w+_(\w+)->")
            taps = math.prod(side for side, label in zip(shapes[1], kernel, strict=True) if label != "o")
            holes = instruction.attribute(r"lhs_dilate=([\dx]+)", "1").split("x")
            return 2 * math.prod(dimensions(instruction.shape)) * taps // math.prod(map(int, holes))
        if instruction.op == "dot" or _kind(instruction) == "matrix product":
            axes = re.findall(r"\d+", instruction.attribute(r"lhs_contracting_dim\w*\W+([\d,\"]*)"))
            return 2 * math.prod(dimensions(instruction.shape)) * math.prod(shapes[0][int(axis)] for axis in axes)
        return 0


def size_of(shape: str, *, on_chip: bool = False) -> int:
    """Bytes of an array, or of all arrays of a tuple; those in a core's own memory count if `on_chip` is set."""
    total = 0
    for kind, sides, layout in SHAPE.findall(shape):
        bits = BITS.get(kind) or int(re.search(r"\d+|$", kind)[0] or 0)  # f32, s8, f8e4m3fn; token has none
        if on_chip or ON_CHIP not in layout:
            total += math.prod(_padded([int(side) for side in sides.split(",") if side], layout)) * bits // 8
    return total


def dimensions(shape: str) -> list[int]:
    """Sides of an array, or of the first of a tuple."""
    return [int(side) for side in SHAPE.search(shape)[2].split(",") if side]


def _padded(sides: list[int], layout: str) -> list[int]:
    """Sides as they lie in memory: a TPU fills up the innermost ones to whole tiles, `T(8,128)`."""
    tile = re.search(r"\{([\d,]+):T\(([\d,]+)\)", layout)
    if tile:
        order, tile_sides = (list(map(int, numbers.split(","))) for numbers in tile.groups())
        for axis, multiple in zip(order, reversed(tile_sides), strict=False):
            sides[axis] = -(-sides[axis] // multiple) * multiple
    return sides


def _kind(instruction: Instruction) -> str:
    """What the report calls an instruction."""
    target = instruction.attribute(r'custom_call_target="([^"]*)"')
    if "conv" in target.lower():
        return "convolution"
    if "gemm" in target or "matmul" in target:
        return "matrix product"
    return target or instruction.op.removesuffix("-done")


def _library_convolution_flops(instruction: Instruction, computation: dict[str, Instruction]) -> int:
    """Operations of a call of cuDNN: of a convolution, or of its gradient with respect to map or kernel.

    Each multiplies every output of the convolution with every tap that leads to it: (outputs) x (kernel's size) /
    (output channels) multiply-adds.
    """
    first, second = (dimensions(computation[name].shape) for name in instruction.operands[:2])
    result, target = dimensions(instruction.shape), instruction.attribute(r'custom_call_target="([^"]*)"')
    if "BackwardInput" in target:
        outputs, kernel = first, second
    elif "BackwardFilter" in target:
        outputs, kernel = second, result
    else:
        outputs, kernel = result, second
    features = kernel[instruction.attribute(r"dim_labels=\w+_(\w+)->").index("o")]
    return 2 * math.prod(outputs) * math.prod(kernel) // features
