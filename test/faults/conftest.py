import pytest


@pytest.fixture
def harness(ros_domain):
    from harness import Harness

    harness = Harness(ros_domain)
    yield harness
    harness.close()
