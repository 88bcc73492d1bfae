"""Warnings in words: over-training, memorization and collapse, and when there is nothing to warn of."""

from fastgan_jax.evaluation.diagnosis import diagnose, evaluations


def warned(lines: list[dict], best_metric: str, mirrored: bool = False) -> list[str]:
    return diagnose(evaluations(lines), best_metric, mirrored=mirrored)


def history(**numbers) -> list[dict]:
    """Lines of metrics.jsonl with evaluations at 10, 20, ..., among others."""
    lines = [{"step": 5, "loss/d": 1.0}]
    for index in range(len(next(iter(numbers.values())))):
        lines.append({"step": 10 * (index + 1), **{f"eval/{name}": values[index] for name, values in numbers.items()}})
    return lines


def test_overtraining_is_warned_of_after_three_worse_evaluations():
    assert warned(history(fid=[9.0, 5.0, 6.0, 7.0]), "fid") == []
    (line,) = warned(history(fid=[9.0, 5.0, 6.0, 7.0, 8.0]), "fid")
    assert line.startswith("over-training: fid was best at iteration 20 (5) and has risen to 8")
    (line,) = warned(history(recall=[0.5, 0.4, 0.3, 0.2]), "recall")
    assert "has fallen to 0.2" in line
    assert warned(history(fid=[None, None, None, None]), "fid") == []
    # A little worse is chance, and starts the count anew.
    assert warned(history(fid=[5.0, 5.1, 5.2, 5.1]), "fid") == []
    assert warned(history(fid=[5.0, 6.0, 5.1, 6.0, 7.0]), "fid") == []


def test_noise_of_a_kid_near_zero_is_no_overtraining():
    kids = [0.02, -1e-4, 3e-4, 2e-4, 4e-4]
    (line,) = warned(history(kid=kids), "kid")
    assert line.startswith("over-training: kid was best at iteration 20 (-0.0001)")
    assert warned(history(kid=kids, kid_spread=[1e-3] * 5), "kid") == []
    (line,) = warned(history(kid=[0.02, -1e-4, 3e-3, 2e-3, 4e-3], kid_spread=[1e-3] * 5), "kid")
    assert line.startswith("over-training: kid")


def test_memorization_is_warned_of_when_samples_are_as_near_as_copies():
    far = {"nearest": [0.4], "nearest_flipped": [0.3], "nearest_cropped": [0.2], "nearest_real": [0.5]}
    assert warned(history(**far), "fid") == []
    (line,) = warned(history(**(far | {"nearest": [0.1]})), "fid")
    assert (
        line.startswith("memorization: samples are 0.1 from") and "(0.2), and than they are to each other (0.5)" in line
    )
    assert warned(history(**(far | {"nearest": [0.1], "nearest_real": [0.05]})), "fid") == []
    assert warned(history(**(far | {"nearest": [0.15]})), "fid") == []  # as near as a typical sample may come
    # A mirror image is a training image where training mirrors them: how near it comes does not count.
    symmetric = history(**(far | {"nearest": [0.1], "nearest_flipped": [0.0]}))
    assert warned(symmetric, "fid") == []
    (line,) = warned(symmetric, "fid", mirrored=True)
    assert "than training images are to their own cropped copies (0.2), and than" in line


def test_collapse_is_warned_of_when_diversity_halves():
    assert warned(history(diversity=[0.6, 0.31]), "fid") == []
    (line,) = warned(history(diversity=[0.6, 0.29]), "fid")
    assert line == "collapse: the mean distance between samples is 0.29; it was 0.6 at iteration 10"
    assert warned(history(diversity=[0.3], diversity_real=[0.5]), "fid") == []
    assert warned(history(diversity=[0.9, 0.3], diversity_real=[0.5, 0.5]), "fid") == []
    (line,) = warned(history(diversity=[0.2], diversity_real=[0.5]), "fid")
    assert line == "collapse: the mean distance between samples is 0.2; that between training images is 0.5"


def test_nothing_is_warned_of_without_evaluations():
    assert warned([{"step": 1, "loss/d": 2.0}], "fid") == []
