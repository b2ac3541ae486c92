"""The session makes an unmodified program resumable: it wraps `Model.fit` and numbers its calls."""

from kerasjob_trainer.trainer.session.session import Session

__all__ = ["Session"]
