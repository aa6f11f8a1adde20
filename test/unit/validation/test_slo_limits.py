"""The operator's objectives as limits of `validate`."""

from edge_perception.releases.slo import Slo
from edge_perception.validation.thresholds import Limits, Thresholds, with_slo


def test_limits_are_at_least_what_the_operator_asks():
    limits = with_slo(Thresholds(), Slo()).limits
    assert round(limits.max_deadline_missed_share, 6) == 0.1
    assert limits.min_valid_share == 0.95
    assert limits.max_end_to_end_p99_ms == 500.0
    own = Limits(min_valid_share=0.99, max_end_to_end_p99_ms=100.0, max_deadline_missed_share=0.01)
    assert with_slo(Thresholds(limits=own), Slo()).limits == own
