"""`spec.export` on the agent's side: brings the files that the leader's trainer has written to the store.

What a job exports lies below a folder of its own: nothing that another one wrote is touched.
"""

from __future__ import annotations

from kerasjob_api.wire import ExportConfig
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.store import Store, open_store

# By format: a file, or a directory.
EXPORT_NAMES = {"keras": "model.keras", "saved_model": "saved_model", "weights": "model.weights.h5"}


def open_exports(settings: Settings, config: ExportConfig) -> Store:
    """Where the job's export goes. Raises StoreError."""
    return open_store(f"{config.uri.rstrip('/')}/{settings.config.uid}/", settings.config.s3, settings.s3_dir)


def upload(settings: Settings, config: ExportConfig) -> str:
    """Stores all files; answers the URI of the file, or of the SavedModel's directory. Raises StoreError."""
    store, name = open_exports(settings, config), EXPORT_NAMES[config.format]
    files = sorted(path for path in settings.exported.rglob("*") if path.is_file())
    # The graph last: a SavedModel without it is none.
    for path in sorted(files, key=lambda path: path.name == "saved_model.pb"):
        store.put_file(str(path.relative_to(settings.exported)), path)
    return f"{store.uri}{name}" + ("/" if (settings.exported / name).is_dir() else "")
