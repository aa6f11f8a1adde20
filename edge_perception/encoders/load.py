"""Load control at work in a pipeline: frames skipped or reused, cheaper models that stand in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.health import Health, Level
from edge_perception.core.types import Geometry
from edge_perception.encoders import EncoderOutput, EncoderSpec
from edge_perception.encoders.frame_reuse import FrameReuse, Inferred, Reused, ReuseLimits
from edge_perception.encoders.load_control import LoadControl, LoadEvent, LoadOptions, LoadStep
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import LoadedModel
from edge_perception.models.manifest import Manifest
from edge_perception.models.model_cache import ModelCache

SAME = ("role", "feature_space", "compatible_with", "inputs", "labels", "preprocessing")


ADVICE_NS = 5_000_000_000  # for so long advice holds; it is repeated every second


class Heat(Protocol):
    """What the machine says of its heat, read by somebody else's thread."""

    reason: str  # why it is too hot, or throttles; empty: it does not, as far as it is told
    not_told: str  # why an input that was asked for cannot be had; empty: it can


class StandIns:
    """Loads cheaper models in the background; what serves goes on until they are ready."""

    def __init__(self, spec: EncoderSpec, cache: ModelCache[LoadedModel]) -> None:
        self._spec, self.cache = spec, cache
        self._held: tuple[str, ServedModel, ServedModel] | None = None  # name, stand-in, for whom
        self._ready: tuple[str, ServedModel, ServedModel] | None = None
        self._failed: tuple[str, str] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def loading(self) -> bool:
        """Whether one is being loaded."""
        return self._thread is not None

    @property
    def name(self) -> str:
        """The bundle that stands in; empty: none does."""
        return "" if self._held is None else self._held[0]

    def model_for(self, name: str, current: ServedModel) -> ServedModel:
        """Return who serves in the inference thread, between frames.

        Args:
            name: of the bundle that is to stand in; empty: none.
            current: the model that it stands in for.
        """
        thread = self._thread
        if thread is not None and not thread.is_alive():
            self._thread, ready, self._ready = None, self._ready, None
            if ready is not None:
                self._let_go()
                self._held = ready
        held = self._held
        if held is not None and (not name or held[2] is not current):
            self._let_go()
            held = None
        idle = self._thread is None and self._failed is None  # a failure is told first
        if name and idle and (held is None or held[0] != name):
            self._thread = threading.Thread(
                target=self._load, args=(name, current), name="stand_in", daemon=True
            )
            self._thread.start()
        return current if held is None else held[1]

    def give_up(self, reason: str) -> None:
        """Let go of the one that stands in: it failed on a frame. Inference thread."""
        if self._held is not None:
            self._failed = (self._held[0], reason)
            self._let_go()

    def failure(self) -> tuple[str, str] | None:
        """Return name and reason of one that cannot stand in, once."""
        failed, self._failed = self._failed, None
        return failed

    def close(self) -> None:
        """Release all; the inference thread has ended."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self._held = self._ready = None
        self.cache.drop()

    def _load(self, name: str, current: ServedModel) -> None:
        try:
            loaded = self.cache.use(name)
        except Exception as error:  # of whatever kind: the model is at fault, the frames go on
            self._failed = (name, str(error))
            return
        reason, served = unfit(loaded.bundle.manifest, current.loaded.bundle.manifest), None
        if not reason and not self._closed:
            try:
                served = ServedModel.with_intake(self._spec, loaded, current.intake)
            except Exception as error:
                reason = str(error)
        if served is None:
            self.cache.done(name)
            self._failed = (name, reason) if reason else None
            return
        self._ready = (name, served, current)

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self.cache.done(held[0])


def unfit(other: Manifest, served: Manifest) -> str:
    """Return why a model cannot stand in for another one; empty: it can."""
    for name in SAME:
        ours, theirs = getattr(served, name), getattr(other, name)
        if ours != theirs:
            return f"{other.name}: expected the {name} of {served.name}, {ours!r}, got {theirs!r}"
    return ""


class EncoderLoad:
    """What the pipeline of a source asks. The inference thread uses it; any thread reads."""

    def __init__(
        self,
        options: LoadOptions,
        spec: EncoderSpec,
        stand_ins: StandIns,
        on_event: Callable[[LoadEvent], None],
        *,
        left_out: str = "",
        heat: Heat | None = None,
    ) -> None:
        """Give up nothing yet.

        Args:
            options: what may be given up.
            spec: the modality.
            stand_ins: the cheaper models.
            on_event: hears of each step, in the inference thread.
            left_out: what was asked for and is not a step, and why.
            heat: of the machine; None: it is not asked.

        Raises:
            ConfigurationError: it asks for what the modality has not, or for nothing.
        """
        if options.reuse_max_age_s > 0.0 and spec.likeness is None:
            raise ConfigurationError(
                f"load.reuse_max_age_s: expected 0 for {spec.modality}, whose frames cannot be "
                f"compared, got {options.reuse_max_age_s:g}"
            )
        self.control = LoadControl(options)
        self.stand_ins = stand_ins
        self._reuse = FrameReuse(spec.likeness) if spec.likeness is not None else None
        self._on_event, self._left_out, self._heat = on_event, left_out, heat
        self._sketch: Any = None  # of the frame in work
        self._passed = 0  # frames since one that was not skipped; the thread that takes them
        self._dropped: int | None = None  # overwritten ones, when the last inferred frame was told
        self._advice: tuple[str, str, int] = ("", "", 0)  # bundle, condition, until when
        self._refused: dict[str, str] = {}  # bundles that were advised and cannot stand in
        self._for: ServedModel | None = None
        self._serves: ServedModel | None = None
        self.skipped = 0

    @property
    def active(self) -> bool:
        """Whether it is switched on, or has something to take back; else frames need not ask."""
        on = self.control.options.on or self.control.number > 0 or bool(self._advice[0])
        return on or bool(self.stand_ins.name) or self.stand_ins.loading

    def advise(self, variant: str, condition: str, now_ns: int) -> None:
        """Let a variant serve while conditions hold; from any thread.

        Args:
            variant: bundle of the same feature space and inputs; empty: none is asked for.
            condition: why.
            now_ns: steady clock; what is not advised again for a while is over.
        """
        self._advice = (variant, condition, now_ns + ADVICE_NS) if variant else ("", "", 0)

    def _advised(self, now_ns: int) -> str:
        variant, _, until_ns = self._advice
        if variant and now_ns > until_ns:
            self._advice = ("", "", 0)  # who advised is gone
            return ""
        return "" if variant in self._refused else variant

    def given_up(self, *, tried: bool) -> str:
        """Return what the frame in work does without; empty: nothing.

        Args:
            tried: a candidate is under trial: nothing is reused and nobody stands in.
        """
        step = self.control.step
        held = LoadStep(
            reuse=step.reuse and not tried,
            variant="" if tried else self.stand_ins.name,
            skipped=step.skipped,
        )
        return "" if held == LoadStep() else str(held)

    def skips(self) -> bool:
        """Whether the frame that comes now is skipped, and count it.

        Asked before it waits: what is skipped is every so many that come, and pushes out none.
        """
        most = self.control.step.skipped
        if self._passed < most:
            self._passed += 1
            self.skipped += 1
            return True
        self._passed = 0
        return False

    def model_for(self, current: ServedModel, now_ns: int) -> ServedModel:
        """Return who serves a frame instead of `current`, or that one."""
        if current is not self._for:
            self._for = current
            self._refused.clear()
            self.control.use_all()
        wanted = self.control.step.variant or self._advised(now_ns)
        serves = self.stand_ins.model_for(wanted, current)
        if serves is not self._serves:
            self._serves = serves
            self.control.restart()  # what was measured so far says nothing of who serves now
        failed = self.stand_ins.failure()
        if failed is not None:
            if failed[0] == self._advice[0]:
                self._refused[failed[0]] = failed[1]
            self._tell(self.control.leave_out(*failed, now_ns))
        return serves

    def stand_in_failed(self, error: Exception) -> None:
        """Take that who stood in failed on the frame in work, which its own model gets then."""
        self.stand_ins.give_up(str(error))

    def reused(
        self, frame: Any, stamp_ns: int, model: ServedModel, geometry: Geometry
    ) -> Reused | None:
        """Return an output that may serve for a frame; None: it is to be inferred."""
        self._sketch = None
        options = self.control.options
        if self._reuse is None or not self.control.step.reuse:
            return None
        self._sketch = self._reuse.sketch(frame)
        limits = ReuseLimits(
            max_age_s=options.reuse_max_age_s,
            change=options.reuse_change,
            near_m=options.reuse_near_m,
        )
        return self._reuse.look(self._sketch, stamp_ns, model, geometry, limits)

    def inferred(
        self,
        output: EncoderOutput,
        stamp_ns: int,
        model: ServedModel,
        geometry: Geometry,
        *,
        doubt: str,
    ) -> None:
        """Take the output of the frame that was looked at last.

        Args:
            output: of it.
            stamp_ns: of it.
            model: that made it.
            geometry: where the sensor sat.
            doubt: why it is not to be used again; empty: it may.
        """
        if self._reuse is None or self._sketch is None:
            return
        if doubt:
            self._reuse.forget(f"the last output is doubtful: {doubt}")
            return
        self._reuse.inferred(
            Inferred(
                stamp_ns=stamp_ns,
                model=model,
                geometry=geometry,
                sketch=self._sketch,
                output=output,
            )
        )

    def took(self, seconds: float, now_ns: int, *, worked_s: float, dropped: int) -> None:
        """Take what an inferred frame took.

        Args:
            seconds: from arrival to feature.
            now_ns: steady clock.
            worked_s: of these seconds, those at work on it.
            dropped: frames that the source did not get to, since it began.
        """
        before, self._dropped = self._dropped, dropped
        if self.stand_ins.loading:
            return
        heat = self._heat.reason if self._heat is not None else ""
        overwritten = 0 if before is None else dropped - before
        self._tell(
            self.control.took(seconds, now_ns, heat, worked_s=worked_s, overwritten=overwritten)
        )

    def _tell(self, event: LoadEvent | None) -> None:
        if event is not None:
            self._on_event(event)

    def finding(self) -> Health:
        """Return WARN while anything is given up, with the figures."""
        control = self.control
        if control.options.on and len(control.steps) == 1:  # set while it runs
            level, text = Level.WARN, "load.budget_ms: there is nothing to give up for it"
        elif not control.number and control.options.on and control.exhausted:
            reasons = "; ".join(control.unusable)
            level, text = Level.WARN, f"load control: nothing can be given up: {reasons}"
        elif not control.number:
            level, text = Level.OK, ""
        else:
            level, text = Level.WARN, f"load control: {control.step}"
            if control.exhausted:
                text += f", nothing is left to give up; {control.time_s() * 1e3:.1f} ms a frame"
        if self._advice[0] in self._refused:
            refused = f"variant {self._advice[0]} for {self._advice[1]} cannot serve"
            text = "; ".join(filter(None, (text, f"{refused}: {self._refused[self._advice[0]]}")))
            level = Level.WARN
        return Health(level=level, message=text, values=self.describe())

    def _heat_text(self) -> str:
        if self._heat is None:
            return "not asked"
        return "; ".join(filter(None, (self._heat.reason, self._heat.not_told))) or "none"

    def describe(self) -> Mapping[str, str]:
        """Return what diagnostics say."""
        control, cache = self.control, self.stand_ins.cache.figures()
        return {
            "load_step": f"{control.number} of {len(control.steps) - 1}: {control.step}",
            "load_stands_in": self.stand_ins.name or "nobody",
            "load_time_ms_p80": f"{control.time_s() * 1e3:.2f}",
            "load_budget_ms": f"{control.options.budget_ms:g}",
            "load_heat": self._heat_text(),
            "load_condition": " in ".join(filter(None, self._advice[:2])) or "none",
            "load_changes": str(control.changes),
            "load_skipped": str(self.skipped),
            "load_reused": str(self._reuse.count if self._reuse is not None else 0),
            "load_not_reused": self._reuse.why_not if self._reuse is not None else "",
            "load_left_out": "; ".join(filter(None, (self._left_out, *control.unusable))),
            "model_cache": ", ".join(cache.loaded) or "empty",
            "model_cache_hit_rate": f"{cache.hit_rate:.2f}",
            "model_cache_evictions": str(cache.evictions),
            "model_cache_mb": f"{cache.used_bytes / 2**20:.0f} of {cache.limit_bytes / 2**20:.0f}",
        }
