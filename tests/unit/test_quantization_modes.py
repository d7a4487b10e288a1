from pytest_llmperf.core.quantization import ALL, MODES, Quantization


def test_the_modes_in_the_order_of_the_documentation():
    assert list(MODES) == ["none", "int8", "fp4", "nf4", "nf4-dq"]


def test_all_is_no_mode_of_its_own():
    assert ALL == "all"
    assert ALL not in MODES


def test_a_mode_is_known_by_its_own_name():
    assert all(key == mode.mode for key, mode in MODES.items())


def test_modes_say_how_weights_are_stored():
    assert MODES["none"] == Quantization("none", bits=16)
    assert MODES["int8"] == Quantization("int8", bits=8, row_bytes=4)
    assert MODES["fp4"] == Quantization("fp4", bits=4, four_bit_type="fp4", constant_bytes=0.0625)
    assert MODES["nf4"] == Quantization("nf4", bits=4, four_bit_type="nf4", constant_bytes=0.0625)
    assert MODES["nf4-dq"] == Quantization(
        "nf4-dq",
        bits=4,
        four_bit_type="nf4",
        double_quant=True,
        # A byte for each 64 weights, and 4 bytes for each 256 of those.
        constant_bytes=0.015869140625,
    )


def test_a_weight_takes_its_bits_and_its_share_of_the_constants():
    sizes = {name: mode.bytes_per_weight for name, mode in MODES.items()}
    assert sizes == {"none": 2, "int8": 1, "fp4": 0.5625, "nf4": 0.5625, "nf4-dq": 0.515869140625}
