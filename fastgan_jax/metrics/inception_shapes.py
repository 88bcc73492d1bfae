"""The convolutions of Inception-v3 by name, and the shapes of their kernels."""

Shapes = dict[str, tuple[int, int, int, int]]  # kernel height, kernel width, channels in, channels out


def layer_shapes() -> Shapes:
    """Kernel shape [kh, kw, in, out] of every convolution by its name."""
    blocks = {
        "Mixed_5b": _shapes_a(192, 32),
        "Mixed_5c": _shapes_a(256, 64),
        "Mixed_5d": _shapes_a(288, 64),
        "Mixed_6a": _shapes_b(288),
        "Mixed_6b": _shapes_c(128),
        "Mixed_6c": _shapes_c(160),
        "Mixed_6d": _shapes_c(160),
        "Mixed_6e": _shapes_c(192),
        "Mixed_7a": _shapes_d(768),
        "Mixed_7b": _shapes_e(1280),
        "Mixed_7c": _shapes_e(2048),
    }
    stem = {
        "Conv2d_1a_3x3": (3, 3, 3, 32),
        "Conv2d_2a_3x3": (3, 3, 32, 32),
        "Conv2d_2b_3x3": (3, 3, 32, 64),
        "Conv2d_3b_1x1": (1, 1, 64, 80),
        "Conv2d_4a_3x3": (3, 3, 80, 192),
    }
    return stem | {f"{block}.{layer}": shape for block, layers in blocks.items() for layer, shape in layers.items()}


def _shapes_a(inputs: int, pooled: int) -> Shapes:
    return {
        "branch1x1": (1, 1, inputs, 64),
        "branch5x5_1": (1, 1, inputs, 48),
        "branch5x5_2": (5, 5, 48, 64),
        "branch3x3dbl_1": (1, 1, inputs, 64),
        "branch3x3dbl_2": (3, 3, 64, 96),
        "branch3x3dbl_3": (3, 3, 96, 96),
        "branch_pool": (1, 1, inputs, pooled),
    }


def _shapes_b(inputs: int) -> Shapes:
    return {
        "branch3x3": (3, 3, inputs, 384),
        "branch3x3dbl_1": (1, 1, inputs, 64),
        "branch3x3dbl_2": (3, 3, 64, 96),
        "branch3x3dbl_3": (3, 3, 96, 96),
    }


def _shapes_c(inner: int) -> Shapes:
    return {
        "branch1x1": (1, 1, 768, 192),
        "branch7x7_1": (1, 1, 768, inner),
        "branch7x7_2": (1, 7, inner, inner),
        "branch7x7_3": (7, 1, inner, 192),
        "branch7x7dbl_1": (1, 1, 768, inner),
        "branch7x7dbl_2": (7, 1, inner, inner),
        "branch7x7dbl_3": (1, 7, inner, inner),
        "branch7x7dbl_4": (7, 1, inner, inner),
        "branch7x7dbl_5": (1, 7, inner, 192),
        "branch_pool": (1, 1, 768, 192),
    }


def _shapes_d(inputs: int) -> Shapes:
    return {
        "branch3x3_1": (1, 1, inputs, 192),
        "branch3x3_2": (3, 3, 192, 320),
        "branch7x7x3_1": (1, 1, inputs, 192),
        "branch7x7x3_2": (1, 7, 192, 192),
        "branch7x7x3_3": (7, 1, 192, 192),
        "branch7x7x3_4": (3, 3, 192, 192),
    }


def _shapes_e(inputs: int) -> Shapes:
    return {
        "branch1x1": (1, 1, inputs, 320),
        "branch3x3_1": (1, 1, inputs, 384),
        "branch3x3_2a": (1, 3, 384, 384),
        "branch3x3_2b": (3, 1, 384, 384),
        "branch3x3dbl_1": (1, 1, inputs, 448),
        "branch3x3dbl_2": (3, 3, 448, 384),
        "branch3x3dbl_3a": (1, 3, 384, 384),
        "branch3x3dbl_3b": (3, 1, 384, 384),
        "branch_pool": (1, 1, inputs, 192),
    }
