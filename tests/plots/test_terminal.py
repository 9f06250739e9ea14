"""Curves drawn with characters."""

from iris_cli.plots.terminal import curves


def test_a_falling_loss_falls_from_the_upper_left_to_the_lower_right():
    lines = curves({"training": [(x / 10, 10.0 ** (-x / 10)) for x in range(11)]}, width=40, height=5)
    assert [line.find("t") for line in lines[:5]] == sorted(line.find("t") for line in lines[:5])
    assert lines[0].startswith("  0.897 |t  t") and lines[4].startswith("    0.1 |") and lines[4].endswith("t")
    assert lines[-1].strip() == "t: training" and max(map(len, lines)) <= 40


def test_points_that_have_no_logarithm_are_left_out_and_a_narrow_terminal_has_no_curve():
    nan = float("nan")
    assert curves({"training": [(0.0, nan), (1.0, 0.0)], "validation": []}, 80) == []
    assert curves({"training": [(0.0, 1.0)]}, 12) == []
    assert "validation" in curves({"training": [(0.0, 1.0)], "validation": [(1.0, 1.0)]}, 80)[-1]
