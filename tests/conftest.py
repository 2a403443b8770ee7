from contextlib import contextmanager

import jax
import pytest

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="session")
def refused():
    """`with refused(argument, got, allowed):` bad input is refused by a ValueError whose message holds all of these
    texts, and before anything is compiled."""

    @contextmanager
    def refusal(*texts: str):
        compiled = []

        def listen(event, duration, **details):
            if event == COMPILED:
                compiled.append(details.get("fun_name", event))

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            with pytest.raises(ValueError) as refusal:  # noqa: PT011 (the texts are checked below)
                yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        missing = [text for text in texts if text not in str(refusal.value)]
        assert not missing, f"the message lacks {missing}: {refusal.value}"
        assert not compiled, f"compiled before the refusal: {compiled}"

    return refusal
