"""Which of several plugins raised an exception."""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType, TracebackType

import pluggy


def culprit(error: BaseException, impls: Sequence[pluggy.HookImpl], default: object) -> object:
    """The plugin whose implementation stands deepest in the traceback.

    Args:
        error: what was raised.
        impls: the implementations that may have raised it.
        default: the answer where none of them is in the traceback.
    """
    by_code = {code: impl.plugin for impl in impls if (code := _code(impl)) is not None}
    found = default
    step: TracebackType | None = error.__traceback__
    while step is not None:
        found = by_code.get(step.tb_frame.f_code, found)
        step = step.tb_next
    return found


def _code(impl: pluggy.HookImpl) -> CodeType | None:
    function = getattr(impl.function, "__func__", impl.function)
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None
