"""Routes of plans, and links that hold messages, by hand."""

from mecpart.testbed.routes import HeldLinks, moves_of, route_of

SIZES = [3000.0, 64000.0, 32000.0, 8000.0, 40.0]


class TestRoutes:
    def test_begin_and_end_at_the_device(self):
        assert route_of([0, 1, 1, 2, 2, 0]) == ((0, 0, 1, None), (1, 1, 3, None), (2, 3, 5, None), (0, 5, 6, None))
        assert route_of([1, 1]) == ((0, 0, 0, None), (1, 0, 2, None), (0, 2, 2, None))
        assert route_of([0, 0]) == ((0, 0, 2, None),)

    def test_what_moves(self):
        assert moves_of([0, 1, 1, 2], SIZES) == ((0, 1, 64000.0), (1, 2, 8000.0), (2, 0, 40.0))
        assert moves_of([0] * 4, SIZES) == ()


class TestHeldLinks:
    def test_one_message_at_a_time_and_latency_beside(self):
        links = HeldLinks({1: (0.5, 0.01, True), 2: (0.25, 0.02, False)})
        assert links.due(1, 10.0, 100, 10.1) == 11.5
        assert links.due(1, 10.5, 100, 10.6) == 12.5  # waits for the first to have passed
        assert links.due(1, 20.0, 0, 20.0) == 20.5
        assert links.due(2, 3.0, 50, 10.0) == 11.25  # by another clock
        assert links.due(3, 3.0, 50, 10.0) == 10.0  # not held
