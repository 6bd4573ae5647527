"""Keeps what a scheduler answered to a submit, where no wrapper of another plugin can lose it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hpcgate.hookspecs import hookimpl
from hpcgate.model.scheduler import SubmitFailed, Submitted

T = TypeVar("T")


class Seen:
    """The answers to one call, in order."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    @property
    def last(self) -> Any:
        """The last of them; ``None`` without any."""
        return self.answers[-1] if self.answers else None


class AnswerRecorder:
    """The innermost wrapper around the submit hooks: it sees the scheduler's answer before any other plugin does."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def recording(self) -> Iterator[Seen]:
        """Where the answers to this thread's submits go while the block lasts."""
        outer, seen = getattr(self._local, "seen", None), Seen()
        self._local.seen = seen
        try:
            yield seen
        finally:
            self._local.seen = outer

    @hookimpl(wrapper=True, trylast=True)
    def hpcgate_submit_job(self) -> Generator[None, Submitted | None, Submitted | None]:
        """Records one answer."""
        answer = yield
        if answer is not None:
            self._keep(answer)
        return answer

    @hookimpl(wrapper=True, trylast=True)
    def hpcgate_submit_jobs(
        self,
    ) -> Generator[None, Iterable[Submitted | SubmitFailed] | None, Sequence[Submitted | SubmitFailed] | None]:
        """Records all answers, one by one: a scheduler may make them as it goes, and stumble on the way."""
        answers = yield
        if answers is None:
            return None
        return [self._keep(answer) for answer in answers]

    def _keep(self, answer: T) -> T:
        seen = getattr(self._local, "seen", None)
        if seen is not None:
            seen.answers.append(answer)
        return answer
