"""`spec.export` on the agent's side: brings the files that the leader's trainer has written to the store.

What a job exports lies below a folder of its own: nothing that another one wrote is touched.
"""

from __future__ import annotations

from kerasjob_api.constants import EXPORT_NAMES
from kerasjob_trainer.checkpoints import claim
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.store import Store, open_store


def open_exports(settings: Settings) -> Store:
    """Where the job's export goes. Raises StoreError."""
    config = settings.config
    assert config.export is not None
    return open_store(f"{config.export.uri.rstrip('/')}/{config.uid}/", config.s3, settings.s3_dir)


def upload(settings: Settings, revision: int) -> str:
    """Stores all files, as the leader of a ring; answers the URI of the file, or of the SavedModel's directory. Raises
    StoreError, and Superseded where the ring is over."""
    assert settings.config.export is not None
    store, name = open_exports(settings), EXPORT_NAMES[settings.config.export.format]
    files = (path for path in settings.exported.rglob("*") if path.is_file())
    # The graph last: a SavedModel without it is none.
    for path in sorted(files, key=lambda path: (path.name == "saved_model.pb", path)):
        claim(settings, revision)
        store.put_file(str(path.relative_to(settings.exported)), path)
    return f"{store.uri}{name}" + ("/" if (settings.exported / name).is_dir() else "")
