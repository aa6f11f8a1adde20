import pytest


@pytest.fixture
def harness(ros_domain):
    from harness import Harness

    harness = Harness(ros_domain)
    yield harness
    harness.close()


@pytest.fixture(scope="module")
def shared_harness(shared_domain):
    """One harness for all tests of a module: where each leaves the nodes as they were."""
    from harness import Harness

    harness = Harness(shared_domain)
    yield harness
    harness.close()
