"""Kernels, bytes and operations are read from a compiled program's text."""

from fastgan_jax.benchmark.hlo import HloProgram, size_of

TEXT = """HloModule jit_program, is_scheduled=true

%fused_gather (set: u8[1000,8,8,3], rows: s32[2]) -> f32[2,8,8,3] {
  %set = u8[1000,8,8,3]{3,2,1,0} parameter(0)
  %rows = s32[2]{0} parameter(1)
  %gathered = u8[2,8,8,3]{3,2,1,0} gather(%set, %rows), offset_dims={1,2,3}, slice_sizes={1,8,8,3}
  ROOT %converted = f32[2,8,8,3]{3,2,1,0} convert(%gathered)
}

%fused_slice (p: bf16[2,8,8,3]) -> f32[1,3] {
  %p = bf16[2,8,8,3]{3,2,1,0} parameter(0)
  %flat = bf16[128,3]{1,0} bitcast(%p)
  %wide = f32[128,3]{1,0} convert(%flat)
  ROOT %first = f32[1,3]{1,0} slice(%wide), slice={[0:1], [0:3]}
}

%fused_dot (a: bf16[16,32], b: bf16[32,8]) -> bf16[16,8] {
  %a = bf16[16,32]{1,0} parameter(0)
  %b = bf16[32,8]{1,0} parameter(1)
  ROOT %dot.1 = bf16[16,8]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (s32[], bf16[16,8])) -> (s32[], bf16[16,8]) {
  %state = (s32[], bf16[16,8]{1,0}) parameter(0)
  %map = bf16[16,8]{1,0} get-tuple-element(%state), index=1
  %copy.1 = bf16[16,8]{0,1} copy(%map)
  ROOT %tuple.1 = (s32[], bf16[16,8]{1,0}) tuple(%state, %copy.1)
}

%condition (counter: (s32[], bf16[16,8])) -> pred[] {
  %limit = s32[] constant(3)
  %counter = (s32[], bf16[16,8]{1,0}) parameter(0)
  %turn = s32[] get-tuple-element(%counter), index=0
  ROOT %less = pred[] compare(%turn, %limit), direction=LT
}

%rare (map: bf16[16,8]) -> bf16[16,8] {
  %map.1 = bf16[16,8]{1,0} parameter(0)
  %w = bf16[8,8]{1,0} constant({...})
  ROOT %dot.2 = bf16[16,8]{1,0} dot(%map.1, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%usual (map: bf16[16,8]) -> bf16[16,8] {
  %map.2 = bf16[16,8]{1,0} parameter(0)
  %copy.2 = bf16[16,8]{0,1} copy(%map.2)
  ROOT %copy.3 = bf16[16,8]{1,0} copy(%copy.2)
}

ENTRY %main (images: u8[1000,8,8,3], rows: s32[2], x: bf16[2,8,8,3], k: bf16[5,3,3,3]) -> bf16[2,8,8,5] {
  %images = u8[1000,8,8,3]{3,2,1,0} parameter(0)
  %indices = s32[2]{0} parameter(1)
  %x = bf16[2,8,8,3]{3,2,1,0} parameter(2)
  %k = bf16[5,3,3,3]{3,2,1,0} parameter(3)
  %m = bf16[16,32]{1,0} parameter(4)
  %n = bf16[32,8]{1,0} parameter(5)
  %batch = f32[2,8,8,3]{3,2,1,0} fusion(%images, %indices), kind=kLoop, calls=%fused_gather
  %pixel = f32[1,3]{1,0} fusion(%x), kind=kLoop, calls=%fused_slice
  %conv = (bf16[2,8,8,5]{3,2,1,0}, u8[640]{0}) custom-call(%x, %k), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(program)/D/conv"}
  %y = bf16[2,8,8,5]{3,2,1,0} get-tuple-element(%conv), index=0
  %filter = (bf16[5,3,3,3]{3,2,1,0}, u8[0]{0}) custom-call(%x, %y), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  %input = (bf16[2,8,8,3]{3,2,1,0}, u8[0]{0}) custom-call(%y, %k), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
  %plain = bf16[2,8,8,5]{3,2,1,0} convolution(%x, %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f
  %product = bf16[16,8]{1,0} fusion(%m, %n), kind=kCustom, calls=%fused_dot
  %gemm = (bf16[16,8]{1,0}, s8[64]{0}) custom-call(%m, %n), custom_call_target="__cublas$gemm", \
backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}
  %start = (s32[], bf16[16,8]{1,0}) tuple(%indices, %product)
  %loop = (s32[], bf16[16,8]{1,0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"10"}}
  %unnoted = (s32[], bf16[16,8]{1,0}) while(%start), condition=%condition, body=%body
  %now_and_then = bf16[16,8]{1,0} conditional(%due, %product, %product), \
branch_computations={%rare, %usual}
  %if = bf16[16,8]{1,0} conditional(%due, %product, %product), true_computation=%usual, false_computation=%rare
  %begun = (s32[2]{0:T(128)S(1)}, s32[2]{0:T(128)}, u32[]) copy-start(%indices)
  %ended = s32[2]{0:T(128)S(1)} copy-done(%begun)
  ROOT %bitcast.1 = bf16[2,8,8,5]{3,2,1,0} bitcast(%y)
}
"""
CONVOLUTION = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)  # the same of its gradients: each output meets each tap
X, K, Y = 2 * (2 * 8 * 8 * 3), 2 * (5 * 3 * 3 * 3), 2 * (2 * 8 * 8 * 5)


def test_every_kernel_is_counted_with_what_it_moves_and_computes():
    kernels = HloProgram(TEXT).kernels()
    gather, pixel, forward, filters, inputs, plain, product, gemm, loop, unnoted, *rare, copy = kernels
    batch = 2 * 8 * 8 * 3
    assert (gather.kind, gather.bytes, gather.flops) == ("fusion", batch + 2 * 4 + 4 * batch, 0), "not the whole set"
    assert pixel.bytes == 3 * 2 + 3 * 4, "of the first pixel, through a bitcast and a conversion"
    for kernel, moved in ((forward, X + K + Y), (filters, X + K + Y), (inputs, X + K + Y), (plain, X + K + Y)):
        assert (kernel.kind, kernel.bytes, kernel.flops) == ("convolution", moved, CONVOLUTION)
    assert forward.source == "jit(program)/D/conv"
    for kernel, kind in ((product, "fusion"), (gemm, "matrix product")):
        assert (kernel.kind, kernel.flops) == (kind, 2 * 16 * 8 * 32)
    assert product.bytes == 2 * (16 * 32 + 32 * 8 + 16 * 8)
    assert (loop.kind, loop.times, loop.bytes) == ("copy", 10, 2 * 2 * 16 * 8)
    assert (unnoted.kind, unnoted.times) == ("copy", 3), "by the condition"
    assert [(kernel.kind, kernel.flops) for kernel in rare] == [("dot", 2 * 16 * 8 * 8)] * 2, "the larger alternative"
    assert (copy.kind, copy.times, copy.bytes) == ("copy", 1, 2 * 4), "what is written stays on the chip"


def test_sizes_are_those_in_memory():
    assert size_of("f32[2,3]{1,0}") == 24 and size_of("(bf16[4]{0}, pred[5]{0}, token[])") == 13
    assert size_of("bf16[1,9,20]{2,1,0:T(8,128)(2,1)}") == 2 * 16 * 128, "a TPU's tiles are filled up"
    assert size_of("f32[9,20]{0,1:T(8,128)}") == 4 * 128 * 24
    assert size_of("f32[8]{0:T(128)S(1)}") == 0 and size_of("f32[8]{0:T(128)S(1)}", on_chip=True) == 4 * 128
