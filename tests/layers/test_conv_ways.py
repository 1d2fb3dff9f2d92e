"""Which 3x3 convolutions go by tiles: the choice, and the layers that keep it."""

import pytest

from frcnn.layers import conv, conv_ways, processor, winograd


@pytest.mark.parametrize(
    ("channels", "least"), [(63, None), (64, 256), (127, 256), (128, 32), (1000, 32)]
)
def test_the_entry_with_the_most_channels_that_fit_counts(channels, least):
    assert conv_ways.least_tiles(((128, 32), (64, 256)), channels) == least
    assert conv_ways.least_tiles(conv_ways.NEVER, channels) is None


def test_the_default_is_the_processors(monkeypatch):
    monkeypatch.setattr(processor, "has_avx512", lambda: True)
    assert conv_ways.default("float32") == conv_ways.DEFAULTS["float32"]
    monkeypatch.setattr(processor, "has_avx512", lambda: False)
    assert conv_ways.default("float32") == conv_ways.DEFAULTS_AVX2["float32"]
    assert conv_ways.default("float16") == conv_ways.NEVER


def test_a_layer_keeps_the_choice_that_it_was_made_with(monkeypatch):
    seen = []
    monkeypatch.setattr(winograd, "conv", lambda x, kernel, tiles: seen.append(tiles) or x)
    with conv_ways.using(((64, 7),)):
        chosen = conv.Conv2D(4, 3, padding="same", use_bias=False)
    plain = conv.Conv2D(4, 3, padding="same", use_bias=False)
    for layer in (chosen, plain):
        layer.build((None, 8, 8, 4))
        layer.convolution_op(layer.kernel, layer.kernel)
    assert seen == [((64, 7),), None]


def test_the_processor_is_read_from_what_linux_says(monkeypatch, tmp_path):
    for flags, widest in (("fpu avx avx2 avx512f", "avx512f"), ("fpu avx avx2", "avx2")):
        path = tmp_path / widest
        path.write_text(
            f"model name\t: Some CPU\nflags\t\t: {flags}\n\nmodel name\t: Other\nflags\t: x\n"
        )
        monkeypatch.setattr(processor, "CPUINFO", path)
        processor._fields.cache_clear()
        assert processor.name() == f"Some CPU {widest}"
        assert processor.has_avx512() == (widest == "avx512f")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    processor._fields.cache_clear()
    assert processor.name() and not processor.has_avx512()
    processor._fields.cache_clear()
