"""Which sets fusion keeps apart, from the preparation of a model to long after its change."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.nodes.fusion.models import FusionModels
from edge_perception.releases.candidate import SHADOW


@pytest.fixture
def loaded():
    """Make the bundled fusion model, as one of another feature space."""
    bundle = find_bundle("bev_lite/fusion", installed_model_folders())
    one = open_bundle(bundle, ModelOptions(model=""))

    def of(space):
        manifest = replace(bundle.manifest, compatible_with=(space,))
        return replace(one, bundle=replace(bundle, manifest=manifest))

    return of


class Fusion:
    """Takes what `Fusion.set_models` is told."""

    apart = frozenset()

    def set_models(self, models, *, exclusive=(), successors=None, from_stamp_ns=0):
        self.models, self.apart = models, {frozenset(each) for each in exclusive}


def sets(*spaces):
    return {frozenset({space}) for space in spaces}


def test_what_comes_before_fusion_hears_and_long_after_is_kept_apart(loaded):
    fusion = Fusion()

    def change(change):
        change(fusion)

    beside = []
    models = FusionModels(
        loaded("a"),
        admits=lambda: True,
        trial_fusion=lambda *asked: beside.append(asked) or SimpleNamespace(stop=lambda: None),
    )
    models.prepare(loaded("b"), change)
    assert fusion.apart == sets("a", "b")  # an encoder may be told before fusion is
    assert [model.compatible for model in fusion.models] == [{"a"}]
    models.trial.set_mode(SHADOW, 1.0, deadline_ms=100.0)
    models.try_out(change)
    assert set(beside[0][2]) == fusion.apart
    models.abort(change)
    assert fusion.apart == sets("a", "b")  # features of the trial may still be on their way
    models.prepare(loaded("c"), change)
    models.commit(1000, change)
    assert fusion.apart == sets("a", "b", "c")
    view = SimpleNamespace(sources=(), oldest_stamp_ns=2000)
    models.on_view(view, 2000, change)
    assert not models.changing
    assert fusion.apart == sets("a", "b", "c")
    assert [model.compatible for model in fusion.models] == [{"c"}]
    assert models.prepare_kept(models.kept.sha256, change)
    models.commit(3000, change)
    assert fusion.apart == sets("a", "b", "c")
    models.close()
