import made_up_run as run
import pytest


@pytest.fixture
def scene():
    return run.scene()


@pytest.fixture
def truth(scene):
    return run.truth(scene)


@pytest.fixture
def stamps():
    return run.stamps()


@pytest.fixture
def entries(truth, stamps):
    return run.entries(truth, stamps)
