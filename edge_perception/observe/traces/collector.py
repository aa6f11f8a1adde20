"""Sends spans to a collector of OpenTelemetry over OTLP, with its own library, in a thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.extras import extra
from edge_perception.observe.traces.spans import Span

with extra("traces"):
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

MOST_WAITING = 500  # traces; one has some twenty spans
BATCH = 20  # traces a request
TIMEOUT_S = 3.0  # of a request with its repetitions
_SCOPE = "edge_perception"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What became of traces."""

    sent: int = 0
    dropped: int = 0  # too many were waiting
    failed: int = 0  # the collector did not take them
    problem: str = ""  # why the newest request failed; empty: it did not


def checked_endpoint(text: str) -> str:
    """Return an endpoint that can be one.

    Raises:
        ConfigurationError: it is no URL of HTTP.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"endpoint: expected a URL such as http://127.0.0.1:4318/v1/traces, got '{text}'"
        )
    return text


class Collector:
    """A bounded queue of traces and the thread that empties it.

    `put` never waits: what finds the queue full is counted and gone.
    """

    def __init__(self, exporter: SpanExporter, *, namespace: str, vehicle: str) -> None:
        """Start the thread.

        Args:
            exporter: where spans go; it is shut down with us.
            namespace: of the nodes.
            vehicle: its name.
        """
        self._exporter, self._made = exporter, _Spans(namespace=namespace, vehicle=vehicle)
        self._reason = _LastMessage()
        self._waiting: deque[Sequence[Span]] = deque()
        self._changed = threading.Condition()
        self._counts = Counts()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="traces_send", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """What became of the traces so far."""
        with self._changed:
            return self._counts

    def put(self, spans: Sequence[Span]) -> None:
        """Queue a trace."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._count(dropped=1)
                return
            self._waiting.append(spans)
            self._changed.notify()

    def close(self, patience_s: float = 1.0) -> None:
        """Send what waits, for a moment, and end; what is left is counted as dropped."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(patience_s)
        with self._changed:
            self._count(dropped=len(self._waiting))
            self._waiting.clear()
        self._exporter.shutdown()  # ends a request that is waiting for its repetition
        self._thread.join(patience_s)
        self._reason.remove()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    return
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._send(batch)

    def _send(self, batch: Sequence[Sequence[Span]]) -> None:
        self._reason.text = ""
        try:
            taken = self._exporter.export(self._made.of(batch)) is SpanExportResult.SUCCESS
            problem = "" if taken else self._reason.text or "the collector refused them"
        except Exception as error:  # of a library, in a thread that must go on
            taken, problem = False, repr(error)
        with self._changed:
            if taken:
                self._count(sent=len(batch), problem="")
            else:
                self._count(failed=len(batch), problem=problem)

    def _count(
        self, *, sent: int = 0, dropped: int = 0, failed: int = 0, problem: str | None = None
    ) -> None:
        was = self._counts
        self._counts = Counts(
            sent=was.sent + sent,
            dropped=was.dropped + dropped,
            failed=was.failed + failed,
            problem=was.problem if problem is None else problem,
        )


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Return the exporter of OTLP over HTTP.

    Args:
        endpoint: URL of the collector's traces. Headers and certificates are given as the library
            has it, by OTEL_EXPORTER_OTLP_HEADERS and its like.
    """
    return OTLPSpanExporter(endpoint=checked_endpoint(endpoint), timeout=TIMEOUT_S)


class _Spans(IdGenerator, SpanProcessor):
    """Makes the library's spans out of ours, with our ids and times. For one thread."""

    def __init__(self, *, namespace: str, vehicle: str) -> None:
        self._attributes = {"service.namespace": namespace or "/", "host.name": vehicle}
        self._tracers: dict[str, trace.Tracer] = {}  # by node: each is a service of its own
        self._made: list[ReadableSpan] = []
        self._trace_id = self._span_id = 0  # of the span that is made now

    def of(self, traces: Sequence[Sequence[Span]]) -> list[ReadableSpan]:
        self._made = []
        for spans in traces:
            contexts: dict[int, Any] = {}
            for span in spans:
                self._trace_id, self._span_id = span.trace_id, span.span_id
                made = self._tracer(span.node).start_span(
                    span.name,
                    context=contexts.get(span.parent_id),
                    attributes=dict(span.attributes),
                    start_time=span.start_ns,
                )
                if span.fault:
                    made.set_status(trace.StatusCode.ERROR, span.fault)
                made.end(end_time=span.end_ns)
                contexts[span.span_id] = trace.set_span_in_context(made)
        return self._made

    def _tracer(self, node: str) -> trace.Tracer:
        if node not in self._tracers:
            resource = Resource({"service.name": node, **self._attributes})
            provider = TracerProvider(
                sampler=ALWAYS_ON,  # what is sent was chosen before
                resource=resource,
                id_generator=self,
                shutdown_on_exit=False,
            )
            provider.add_span_processor(self)
            self._tracers[node] = provider.get_tracer(_SCOPE)
        return self._tracers[node]

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return self._span_id

    def on_end(self, span: ReadableSpan) -> None:
        self._made.append(span)


class _LastMessage(logging.Handler):
    """Keeps the library's last message: it says why a request failed only in its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._propagates, self._logger.propagate = self._logger.propagate, False

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()

    def remove(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagates
