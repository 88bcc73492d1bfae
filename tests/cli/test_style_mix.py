"""fastgan style-mix."""

import numpy as np
from tool_modules import pixels, run, use_model

import fastgan_jax


def test_a_style_mix_has_its_sources_at_the_margins_and_themselves_on_the_diagonal(smoke_run, tmp_path):
    out = tmp_path / "mix.png"
    assert run("style-mix", "--run", smoke_run, "--content", "1-2", "--style", "1-2", "--out", out) == 0
    table = pixels(out)
    tiles = [
        [table[66 * row : 66 * row + 64, 66 * column : 66 * column + 64] for column in range(3)] for row in range(3)
    ]
    sampler = fastgan_jax.load(str(smoke_run))
    own = [sampler.sample(1, seed)[0] for seed in (1, 2)]
    assert tiles[0][0].min() == 255
    for index in (1, 2):
        for tile in (tiles[0][index], tiles[index][0], tiles[index][index]):
            np.testing.assert_array_equal(tile, own[index - 1])
    assert not np.array_equal(tiles[1][2], tiles[1][1])


def test_a_model_without_excitation_has_no_style_to_mix(tmp_path, monkeypatch, capsys):
    use_model(monkeypatch, skip_excitation=False)
    assert run("style-mix", "--run", "any", "--out", tmp_path / "mix.png") == 2
    assert "any: this model has no skip-layer excitation" in capsys.readouterr().err
