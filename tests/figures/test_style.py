import matplotlib
import pytest
from made_up import METHODS
from matplotlib.colors import to_hex

from mecpart import figures


def test_methods_differ_in_colour_marker_and_line():
    methods = [figures.STYLES[method] for method in METHODS]
    for look in (lambda s: to_hex(s.color), lambda s: s.marker, lambda s: str(s.linestyle)):
        assert len({look(style) for style in methods}) == len(METHODS)


def test_reference_lines_are_grey_without_markers_and_all_differ():
    names = ("Optimal", "Earliest finish", "Best constant plan", "Single cut", "One ES", "Local only")
    references = [figures.STYLES[name] for name in names]
    for style in references:
        red, green, blue = matplotlib.colors.to_rgb(style.color)
        assert red == green == blue
        assert style.marker == ""
    assert len({str(style.linestyle) for style in references}) == len(references)


def test_a_method_of_ones_own_is_drawn_too():
    given = figures.styles(["Mine", "RPDI", "Yours", "Proposed"])
    assert list(given) == ["Proposed", "RPDI", "Mine", "Yours"]
    assert given["Mine"].marker != given["Yours"].marker


@pytest.mark.parametrize(("known", "own"), [((), 36), (("Greedy", "Optimal"), 24), (tuple(figures.STYLES), 24)])
def test_all_differ_however_many_there_are(known, own):
    given = figures.styles([*known, *(f"method {at}" for at in range(own))])
    looks = {(to_hex(look.color), look.marker, str(look.linestyle)) for look in given.values()}
    both = {"Optimal", "Myopic"} <= set(known)  # which are of two scenarios, and alike
    assert len(looks) == len(known) + own - both
